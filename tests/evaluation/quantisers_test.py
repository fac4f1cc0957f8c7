"""Quantisers are held against the official expressions, level by level."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import errors
from difjax.evaluation import quantisers

LEVELS = np.arange(256)


def official(name, x):
  """What the official codes compute, in float64 and one number at a time."""
  levels = {
    'edm': np.floor(127.5 * x + 128),
    'adm': np.floor(127.5 * (x + 1)),
    'score_sde': np.floor(255 * ((x + 1) / 2)),
    'diffusers': np.round(255 * (x / 2 + 0.5)),
  }
  return np.clip(levels[name], 0, 255).astype(int)


@pytest.mark.parametrize('name', quantisers.NAMED)
def test_as_the_official_code(name):
  """Between the levels' edges, where float32 and float64 agree."""
  x = np.linspace(-1.2, 1.2, 40_001)
  edges = [127.5 * (x + 1), 127.5 * (x + 1) + 0.5]
  off = np.min([abs(e - np.round(e)) for e in edges], axis=0)
  x = x[off > 1e-3]
  found = quantisers.named(name)(x.astype(np.float32))
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, official(name, x))


@pytest.mark.parametrize(('name', 'loss'), [
  ('edm', 0), ('diffusers', 0), ('adm', 0.5), ('score_sde', 0.5),
])  # fmt: skip
def test_what_is_lost_on_average(name, loss):
  """Of x all over [-1, 1]: half a grey level where bytes are truncated."""
  x = np.linspace(-1, 1, 100_001, dtype=np.float32)[1:-1]
  gap = 127.5 * (x + 1) - quantisers.named(name)(x)
  assert gap.mean() == pytest.approx(loss, abs=1e-3)


@pytest.mark.parametrize('name', ['edm', 'diffusers'])
def test_bytes_stay(name):
  x = (LEVELS.astype(np.float32) - 127.5) / 127.5
  np.testing.assert_array_equal(quantisers.named(name)(x), LEVELS)


def test_an_unknown_name():
  with pytest.raises(errors.ConfigError, match="no quantiser 'floor'; there"):
    quantisers.named('floor')
