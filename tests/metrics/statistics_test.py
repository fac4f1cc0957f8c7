"""Moments against numpy on the whole set, and against hand-made numbers."""

import functools

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import statistics


def test_of_a_hand_made_set():
  moments = statistics.Moments.of([[0.0, 0.0], [2.0, 4.0]])
  assert moments.count == 2
  np.testing.assert_array_equal(moments.mean, [1, 2])
  np.testing.assert_array_equal(moments.scatter, [[2, 4], [4, 8]])
  np.testing.assert_array_equal(moments.gaussian.covariance, [[2, 4], [4, 8]])


@pytest.mark.parametrize('sizes', [(1, 39), (1, 1, 1, 37), (20, 20), (13, 27)])
def test_merging_parts_is_the_whole(sizes):
  features = np.random.default_rng(0).normal(3, 2, (40, 5))
  parts = np.split(features, np.cumsum(sizes)[:-1])
  merged = functools.reduce(
    statistics.Moments.merge, map(statistics.Moments.of, parts)
  )
  assert merged.count == 40
  np.testing.assert_allclose(merged.mean, features.mean(0), rtol=1e-13)
  np.testing.assert_allclose(
    merged.gaussian.covariance, np.cov(features.T), rtol=1e-12, atol=1e-14
  )


def test_a_large_common_offset_costs_no_digits():
  # Running sums of x and x x^T in float64 keep no digit at this offset.
  batch = np.array([[0.0], [1.0], [2.0], [3.0]])
  parts = [statistics.Moments.of(rows + 1e9) for rows in (batch, batch)]
  merged = parts[0].merge(parts[1])
  np.testing.assert_allclose(merged.gaussian.covariance, [[10 / 7]], rtol=1e-12)


def test_float32_features_are_summed_in_float64():
  features = np.full((3000, 1), 0.1, np.float32)
  exact = float(np.float32(0.1))
  assert statistics.Moments.of(features).mean[0] == pytest.approx(exact, 1e-14)


@pytest.mark.parametrize(
  'features', [np.zeros(3), np.zeros((0, 2)), np.zeros((2, 0)), [[np.nan]]]
)
def test_malformed_features_are_refused(features):
  with pytest.raises(errors.DataError):
    statistics.Moments.of(features)


def test_one_image_has_no_covariance():
  with pytest.raises(errors.DataError, match='at least two'):
    _ = statistics.Moments.of([[1.0, 2.0]]).gaussian


def test_order_of_merging_matters_by_rounding_alone():
  rng = np.random.default_rng(1)
  features = rng.normal(50, np.logspace(-3, 3, 6), (400, 6))
  parts = [statistics.Moments.of(p) for p in np.split(features, 16)]
  whole = statistics.Moments.of(features)
  scale = np.sqrt(np.diagonal(whole.scatter))
  for _ in range(5):
    rng.shuffle(parts)
    merged = functools.reduce(statistics.Moments.merge, parts)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(
      merged.scatter / np.outer(scale, scale),
      whole.scatter / np.outer(scale, scale),
      atol=1e-12,
    )


def test_a_stream_is_read_once_and_summed():
  features = np.random.default_rng(2).normal(size=(30, 3))
  stream = (features[i : i + 7] for i in range(0, 30, 7))
  moments = statistics.Moments.of_batches(stream)
  assert moments.count == 30
  np.testing.assert_allclose(
    moments.gaussian.covariance, np.cov(features.T), rtol=1e-12
  )


def test_stored_statistics_merge_as_the_features_would():
  features = np.random.default_rng(3).normal(size=(30, 3))
  a, b = features[:12], features[12:]
  stored = statistics.Moments.of_gaussian((a.mean(0), np.cov(a.T)), 12)
  merged = stored.merge(statistics.Moments.of(b)).gaussian
  np.testing.assert_allclose(merged.mean, features.mean(0), rtol=1e-12)
  np.testing.assert_allclose(merged.covariance, np.cov(features.T), rtol=1e-12)


def test_moments_of_different_features_do_not_merge():
  a, b = (statistics.Moments.of(np.ones((2, d))) for d in (2, 3))
  with pytest.raises(errors.DataError, match='of 2 and of 3'):
    a.merge(b)


def test_an_empty_stream_is_refused():
  with pytest.raises(errors.DataError, match='no features'):
    statistics.Moments.of_batches(iter(()))


def test_adm(golden):
  moments = statistics.Moments.of(golden['feat_real'])
  np.testing.assert_allclose(moments.mean, golden['adm_mu'], atol=1e-6)
  np.testing.assert_allclose(
    moments.gaussian.covariance, golden['adm_sigma'], rtol=1e-6, atol=1e-7
  )
