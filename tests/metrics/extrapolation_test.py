"""FD-infinity on Gaussian features, whose true distance is known."""

import dataclasses

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import extrapolation, frechet, statistics

D = 5
TRUE = statistics.Gaussian(np.zeros(D), np.eye(D))
OTHER = statistics.Gaussian(np.full(D, 0.3), np.diag([0.3, 0.5, 1, 2, 3]))


def limits(reference, count=500, repeats=40, **options):
  return [
    extrapolation.fd_infinity(
      np.random.default_rng(seed).normal(size=(count, D)), reference, **options
    )
    for seed in range(repeats)
  ]


def test_it_removes_the_bias_and_the_interval_covers():
  exact = frechet.frechet_distance(TRUE, OTHER)
  found = limits(OTHER, levels=3, draws=6)
  values = np.array([limit.value for limit in found])
  standard_error = values.std() / np.sqrt(len(values))
  assert abs(values.mean() - exact) < 3 * standard_error
  # Fewer than 33 of 40 at 95 % is a chance of 1e-3; too wide shows as well.
  hits = sum(limit.low <= exact <= limit.high for limit in found)
  widths = np.mean([limit.high - limit.low for limit in found])
  assert hits >= 33
  assert widths < 8 * values.std()


def test_the_same_law_is_at_distance_zero():
  found = limits(TRUE, repeats=60, levels=3, draws=2)
  values = np.array([limit.value for limit in found])
  standard_error = values.std() / np.sqrt(len(values))
  assert abs(values.mean()) < 3 * standard_error
  plain = np.mean([limit.distances[0] for limit in found])
  assert plain > 10 * standard_error  # so the bias would have been seen


def test_repeatable_and_told_what_it_rests_on():
  features = np.random.default_rng(0).normal(size=(60, 2))
  reference = statistics.Gaussian(np.ones(2), np.eye(2))
  limit = extrapolation.fd_infinity(features, reference, levels=3, draws=5)
  again = extrapolation.fd_infinity(features, reference, levels=3, draws=5)
  assert dataclasses.astuple(limit) == dataclasses.astuple(again)
  assert limit.counts == (60, 30, 20)
  assert len(limit.draws) == 5
  whole = statistics.Moments.of(features).gaussian
  assert limit.distances[0] == pytest.approx(
    frechet.frechet_distance(whole, reference), rel=1e-12
  )


def test_parts_that_are_too_small_are_refused():
  with pytest.raises(errors.DataError, match='fewer levels'):
    extrapolation.fd_infinity(np.ones((20, D)), TRUE, levels=4)
