"""EDM2's references as its code pickles them, and files that are none."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from difjax import errors
from difjax.interop import edm2_reference
from tests.interop import files

FEATURES = np.random.default_rng(0).normal(size=(20, 4))
WIDE = np.random.default_rng(1).normal(size=(20, 6))


def gathered(features):
  """Sums as EDM2 gathers them: of features and of their products."""
  count, total = len(features), features.sum(0)
  mean = total / count
  outer = features.T @ features - np.outer(mean, mean) * count
  return dict(mu=mean, sigma=outer / (count - 1))


STATISTICS = dict(
  num_images=20, fid=gathered(FEATURES), fd_dinov2=gathered(WIDE))


def pickled(tmp_path, tree, protocol=4):
  path = tmp_path / 'img64.pkl'
  path.write_bytes(pickle.dumps(tree, protocol))
  return path


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_statistics_of_two_networks(tmp_path, protocol):
  path = pickled(tmp_path, STATISTICS, protocol)
  found = edm2_reference.read(path)
  assert sorted(found) == ['fd_dinov2', 'fid']
  for name, features in (('fid', FEATURES), ('fd_dinov2', WIDE)):
    one = found[name]
    assert one.count == 20
    np.testing.assert_allclose(one.pooled.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
      one.pooled.covariance, np.cov(features.T), rtol=1e-9)


@pytest.mark.parametrize(
  ('tree', 'match'),
  [
    ([1, 2], 'no statistics by name'),
    ({}, 'holds nothing'),
    (dict(num_images=3), 'holds num_images'),
    (dict(fid=dict(mu=FEATURES[0])), 'fid: holds mu but no sigma'),
    (dict(fid={}), 'fid: holds nothing'),
    (dict(fid=dict(mu='a', sigma=2)), 'no real numbers'),
    (dict(fid=dict(mu=FEATURES[0], sigma=WIDE)), 'no mean'),
    (dict(fid=dict(mu=FEATURES[0] * np.nan, sigma=np.eye(4))), 'NaN'),
    (dict(STATISTICS, num_images='many'), 'count'),
  ],
)  # fmt: skip
def test_what_is_no_reference_is_one_line(tmp_path, tree, match):
  path = pickled(tmp_path, tree)
  with pytest.raises(errors.DataError, match=match) as error:
    edm2_reference.read(path)
  assert '\n' not in str(error.value)
  assert 'img64.pkl' in str(error.value)


def test_nothing_is_run(tmp_path):
  canary = tmp_path / 'canary'
  path = pickled(tmp_path, dict(fid=files.Run(os.system, f'touch {canary}')), 2)
  with pytest.raises(errors.DataError, match='refused') as error:
    edm2_reference.read(path)
  assert '\n' not in str(error.value)
  assert not canary.exists()


def test_a_file_cut_short_is_one_line(tmp_path):
  whole = pickled(tmp_path, STATISTICS).read_bytes()
  path = tmp_path / 'img64.pkl'
  for length in range(0, len(whole), 29):
    path.write_bytes(whole[:length])
    with pytest.raises(errors.DataError) as error:
      edm2_reference.read(path)
    assert '\n' not in str(error.value)
  with pytest.raises(errors.DataError, match='cannot be read'):
    edm2_reference.read(tmp_path / 'none.pkl')
