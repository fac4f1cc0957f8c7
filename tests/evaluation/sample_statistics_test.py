"""Features beside samples, read as score_sde's evaluation reads them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax import linen as nn

from difjax import errors, metrics
from difjax.evaluation import sample_formats, sample_statistics
from difjax.metrics import features, resize
from tests.evaluation import drawn_sets

PIXELS = np.stack([drawn_sets.pixels(i, (6, 6, 3)) for i in range(5, 28)])


class Found(NamedTuple):
  pool_3: jax.Array
  logits: jax.Array
  spatial: jax.Array


class Means(nn.Module):
  """Means of channels, and more that nobody asks for."""

  @nn.compact
  def __call__(self, x):
    return Found(x.mean((1, 2)), 3 * x.mean((1, 2)), x)


def extractor():
  return features.Extractor(
    network=Means(), params={}, convention=resize.CLEAN_FID, size=None,
    sha256='', published=False, family='means')


def test_score_sde_reads_it(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'set')
  sample_formats.write(samples, ['score_sde'])
  folder = sample_statistics.score_sde(samples, extractor(), batch=4)
  drawn, pools, logits = [], [], []
  for i in range(len(samples.blocks)):  # a round of score_sde each
    with np.load(folder / f'samples_{i}.npz') as file:
      drawn.append(file['samples'])
    with np.load(folder / f'statistics_{i}.npz') as file:
      assert sorted(file.files) == ['about', 'logits', 'pool_3']
      pools.append(file['pool_3'])
      logits.append(file['logits'])
    assert len(drawn[-1]) == len(pools[-1]) == len(logits[-1])
  assert not (folder / f'statistics_{len(pools)}.npz').exists()
  np.testing.assert_array_equal(np.concatenate(drawn), PIXELS)
  expected = (PIXELS / 127.5 - 1).mean((1, 2))  # its range of values
  np.testing.assert_allclose(np.concatenate(pools), expected, atol=1e-6)
  np.testing.assert_allclose(np.concatenate(logits), 3 * expected, atol=3e-6)
  found = metrics.read_reference(folder / 'statistics_0.npz')
  assert found.count == len(pools[0])
  np.testing.assert_array_equal(found.features, pools[0])


def test_what_is_there_is_not_made_again(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'set')
  folder = sample_statistics.score_sde(
    samples, extractor(), tmp_path / 'elsewhere')
  before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
  (folder / 'statistics_1.npz').unlink()
  sample_statistics.score_sde(samples, extractor(), folder)
  now = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
  assert [p.name for p in now if now[p] != before[p]] == ['statistics_1.npz']


def test_features_of_others_are_not_taken(tmp_path):
  """Of other weights, of other images, by score_sde itself, and of none."""
  samples = drawn_sets.whole(tmp_path / 'set', num=4, first=0)
  folder = sample_statistics.score_sde(samples, extractor())
  file = folder / 'statistics_0.npz'
  sound = file.read_bytes()
  refused = pytest.raises(errors.ConfigError, match=r'statistics_0\.npz holds')
  with refused:
    sample_statistics.score_sde(
      samples, dataclasses.replace(extractor(), sha256='other')
    )
  other = drawn_sets.whole(tmp_path / 'other', num=4, first=4)
  with refused:
    sample_statistics.score_sde(other, extractor(), folder)
  assert file.read_bytes() == sound
  np.savez(file, pool_3=np.zeros((4, 3)), logits=np.zeros((4, 3)))
  for content in (file.read_bytes(), b'', b'no file', sound[:-30]):
    file.write_bytes(content)
    with refused:
      sample_statistics.score_sde(samples, extractor())
  np.save(tmp_path / 'array.npy', np.zeros(3))
  (tmp_path / 'array.npy').replace(file)
  with refused:
    sample_statistics.score_sde(samples, extractor())
