"""Where DINOv2 reads its embeddings of places, by hand."""

from __future__ import annotations

import numpy as np

from difjax.metrics import dinov2


def test_places_of_the_same_grid_are_left_alone():
  np.testing.assert_allclose(dinov2.places(5, 5, 0.0), np.eye(5), atol=1e-7)


def cubic(x):
  """Keys' of a = -3/4."""
  if x > 1:
    return -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3
  return 1.25 * x**3 - 2.25 * x**2 + 1


def test_a_finer_grid():
  weights = dinov2.places(8, 16, 0.0)[7]  # at 3.25
  expected = [cubic(abs(3.25 - i)) for i in (2, 3, 4, 5)]
  np.testing.assert_allclose(weights[2:6], expected, atol=1e-7)
  assert not weights[[0, 1, 6, 7]].any()


def test_edges_are_repeated():
  first, *_, last = dinov2.places(8, 16, 0.0)  # at -0.25 and 7.25
  expected = [1 - cubic(1.25), cubic(1.25)] + 6 * [0]
  np.testing.assert_allclose(first, expected, atol=1e-7)
  np.testing.assert_allclose(last, expected[::-1], atol=1e-7)


def test_the_offset_moves_the_last_place():
  at = 15.5 * 37 / 16.1 - 0.5  # 35.12, which is 35.34 without
  expected = [cubic(abs(at - i)) for i in (34, 35, 36, 37)]
  weights = dinov2.places(37, 16, 0.1)[15, 34:]
  np.testing.assert_allclose(
    weights, [*expected[:2], sum(expected[2:])], atol=1e-6)
