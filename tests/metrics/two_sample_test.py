"""The two-sample test on laws that differ by a known amount."""

import time

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import two_sample


def test_one_law_is_not_told_apart():
  a, b = np.random.default_rng(0).normal(size=(2, 300, 10))
  # Three standard errors of 600 fair coins are 6 points.
  assert abs(two_sample.two_sample_accuracy(a, b) - 0.5) < 0.06


def test_far_apart_is_told_apart():
  a, b = np.random.default_rng(1).normal(size=(2, 100, 10))
  assert two_sample.two_sample_accuracy(a, b + 5) == 1


def test_the_best_possible_accuracy_is_nearly_reached():
  # N(0, 1) against N(2, 1): nobody does better than Phi(1) = 0.841.
  rng = np.random.default_rng(2)
  a, b = rng.normal(0, 1, (800, 1)), rng.normal(2, 1, (800, 1))
  assert two_sample.two_sample_accuracy(a, b) == pytest.approx(0.841, abs=0.03)


def test_equal_means_and_variances_do_not_hide_a_different_shape():
  rng = np.random.default_rng(3)
  a = rng.normal(size=(300, 2))
  angle = rng.uniform(0, 2 * np.pi, 300)
  ring = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
  assert two_sample.two_sample_accuracy(a, ring) > 0.75


def test_unequal_counts_are_balanced():
  # Unbalanced, answering "b" always would be right 10 times out of 11.
  rng = np.random.default_rng(4)
  a, b = rng.normal(size=(100, 5)), rng.normal(size=(1000, 5))
  assert abs(two_sample.two_sample_accuracy(a, b) - 0.5) < 0.11


def test_repeatable_and_fast_on_500_digits_a_side():
  a, b = np.random.default_rng(5).normal(size=(2, 500, 64))
  start = time.perf_counter()
  first = two_sample.two_sample_accuracy(a, b, seed=7)
  assert time.perf_counter() - start < 10
  assert first == two_sample.two_sample_accuracy(a, b, seed=7)


def test_too_few_are_refused():
  with pytest.raises(errors.DataError, match='N >= 5'):
    two_sample.two_sample_accuracy(np.zeros((4, 2)), np.zeros((9, 2)))
