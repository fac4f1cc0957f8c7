"""Precision and recall of points whose balls can be drawn on paper."""

import dataclasses

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import precision_recall


def column(*numbers):
  return np.array(numbers, float)[:, None]


# With k = 1 the radii are 1, 1, 2 (balls [-1, 1], [0, 2], [1, 5]).
REAL = column(0, 1, 3)


def figures(generated, real, **options):
  return dataclasses.astuple(
    precision_recall.overlap(generated, real, **options)
  )


@pytest.mark.parametrize('chunk', [1, 2, 100])
def test_points_on_a_line(chunk):
  # Generated radii 1.5, 1.5, 6: balls [.5, 3.5], [2, 5], [-3.5, ...]. In real
  # balls: 2 in [0, 2] and [1, 5]; 3.5 in [1, 5]; 9.5 in none.
  generated = column(2, 3.5, 9.5)
  got = figures(generated, REAL, k=1, chunk=chunk)
  np.testing.assert_allclose(got, (2 / 3, 2 / 3, 3 / 3, 2 / 3))


def test_a_point_on_the_sphere_is_inside():
  # 5 is on the sphere of 3; a hair further it is outside every ball.
  on, off = column(5, 5), column(np.nextafter(5, 6), np.nextafter(5, 6))
  assert figures(on, REAL, k=1) == (1, 0, 1, 1 / 3)
  assert figures(off, REAL, k=1) == (0, 0, 0, 0)


def test_collapse_has_precision_and_no_recall():
  got = precision_recall.overlap(column(2.5, 2.5, 2.5, 2.5), REAL, k=2)
  assert (got.precision, got.recall) == (1, 0)


def test_the_set_itself_overlaps_fully():
  points = np.random.default_rng(0).normal(size=(60, 4))
  got = precision_recall.overlap(points, points[::-1])
  assert (got.precision, got.recall, got.coverage) == (1, 1, 1)


def test_swapping_the_sets_swaps_precision_and_recall():
  rng = np.random.default_rng(1)
  a, b = rng.normal(size=(80, 3)), rng.normal(0.7, 1, (80, 3))
  there, back = precision_recall.overlap(a, b), precision_recall.overlap(b, a)
  assert (there.precision, there.recall) == (back.recall, back.precision)
  assert 0 < there.precision < 1


def test_sets_far_apart_do_not_overlap():
  rng = np.random.default_rng(2)
  a, b = rng.normal(size=(2, 30, 3))
  assert figures(a, b + 100) == (0, 0, 0, 0)


def test_more_points_than_k_are_needed():
  with pytest.raises(errors.DataError, match='N >= 4'):
    precision_recall.overlap(REAL, REAL, k=3)
