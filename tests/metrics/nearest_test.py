"""Nearest neighbours of hand-made points."""

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import nearest

LINE = np.array([[0.0], [1.0], [3.0], [7.0]])


@pytest.mark.parametrize('chunk', [1, 2, 100])
def test_neighbours_on_a_line(chunk):
  queries = [[0.9], [6.0], [-1.0]]
  distances, indices = nearest.nearest_neighbours(queries, LINE, 2, chunk)
  np.testing.assert_array_equal(indices, [[1, 0], [3, 2], [0, 1]])
  np.testing.assert_allclose(distances, [[0.1, 0.9], [1, 3], [1, 2]])


def test_of_equals_the_lower_index_comes_first():
  references = [[1.0, 0], [0, 1], [-1, 0], [0, 1]]
  distances, indices = nearest.nearest_neighbours([[0.0, 0]], references, 4)
  np.testing.assert_array_equal(indices, [[0, 1, 2, 3]])
  np.testing.assert_array_equal(distances, np.ones((1, 4)))


def test_a_copy_is_at_distance_zero_exactly():
  # |a|^2 + |b|^2 - 2 a.b would leave some 1e-8 at this offset.
  images = np.random.default_rng(0).normal(1e4, 1, (50, 64))
  distances, indices = nearest.nearest_neighbours(images, images)
  np.testing.assert_array_equal(indices[:, 0], np.arange(50))
  np.testing.assert_array_equal(distances, 0)


def test_ratio_of_hand_made_points():
  # Nearest-training distances 0.5, 2, 2 against 1, 1, 4: medians 2 and 1.
  samples, held_out = [[0.5], [5.0], [9.0]], [[2.0], [8.0], [11.0]]
  assert nearest.nearest_ratio(samples, held_out, LINE) == 2


def test_ratio_of_copies_is_zero():
  assert nearest.nearest_ratio(LINE[[1, 1, 3]], [[2.0]], LINE) == 0


def test_held_out_images_that_were_trained_on_are_refused():
  with pytest.raises(errors.DataError, match='split them apart'):
    nearest.nearest_ratio([[2.0]], LINE, LINE)


@pytest.mark.parametrize(
  ('queries', 'references', 'k'),
  [([[0.0]], LINE, 5), ([[0.0, 1.0]], LINE, 1), ([0.0], LINE, 1)],
)
def test_what_cannot_be_compared_is_refused(queries, references, k):
  with pytest.raises(errors.DataError):
    nearest.nearest_neighbours(queries, references, k)
