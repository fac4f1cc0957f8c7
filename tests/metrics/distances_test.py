"""Blocked distances against sums of squares, where rounding would decide."""

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import distances


def brute(queries, references):
  gaps = np.asarray(queries)[:, None] - np.asarray(references)[None]
  return np.sum(gaps**2, axis=-1)


CLOUDS = {
  'ties': np.random.default_rng(0).integers(0, 3, (120, 4)).astype(float),
  'offset': np.random.default_rng(1).normal(1e7, 1, (60, 9)),
  'copies': np.repeat(np.random.default_rng(2).normal(size=(20, 5)), 4, axis=0),
  'outlier': np.vstack([np.random.default_rng(3).normal(size=(50, 6)),
                        np.full((1, 6), 1e9)]),
  'equal': np.ones((30, 3)),
}  # fmt: skip


@pytest.mark.parametrize('chunk', [1, 7, 500])
@pytest.mark.parametrize('cloud', CLOUDS.values(), ids=CLOUDS)
def test_nearest_is_a_stable_sort_of_the_sums_of_squares(cloud, chunk):
  exact = brute(cloud, cloud)
  order = np.argsort(exact, axis=1, kind='stable')[:, :6]
  squared, indices = distances.k_nearest(cloud, cloud, 6, chunk)
  np.testing.assert_array_equal(indices, order)
  np.testing.assert_array_equal(squared, np.take_along_axis(exact, order, 1))


@pytest.mark.parametrize('closed', [True, False])
@pytest.mark.parametrize('cloud', CLOUDS.values(), ids=CLOUDS)
def test_within_decides_at_the_limit_itself(cloud, closed):
  exact = brute(cloud, cloud)
  limits = exact[:, 5]  # each is met exactly, and by its copies as well
  compare = np.less_equal if closed else np.less
  (block,) = distances.blocks(cloud, cloud)
  inside = block.within(limits[:, None], closed)
  np.testing.assert_array_equal(inside, compare(exact, limits[:, None]))
  np.testing.assert_array_equal(
    block.within(limits, closed), compare(exact, limits)
  )


def test_the_bound_holds_and_is_narrow():
  rng = np.random.default_rng(4)
  a, b = rng.normal(size=(2, 80, 300)) * np.logspace(-3, 3, 80)[:, None]
  (block,) = distances.blocks(a, b)
  off = np.abs(block.squared - brute(a, b))
  assert (off <= block.slack).all()
  assert (block.slack <= 1e-12 * (block.squared + np.sum(a**2) + 1)).all()


def test_features_of_different_length_are_refused():
  with pytest.raises(errors.DataError, match='of 2 and of 3'):
    next(distances.blocks(np.ones((4, 2)), np.ones((4, 3))))


@pytest.mark.parametrize('cloud', CLOUDS.values(), ids=CLOUDS)
def test_the_farthest_pair(cloud):
  found = [block.farthest() for block in distances.blocks(cloud, cloud, 7)]
  assert max(found) == brute(cloud, cloud).max()
