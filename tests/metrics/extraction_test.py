"""Extraction of hand-made images."""

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import extraction

TRAIN = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def brute(sample, image, tiles):
  worst, side = 0.0, 8 // tiles
  for i in range(0, 8, side):
    for j in range(0, 8, side):
      a, b = (x[i : i + side, j : j + side] / 255 for x in (sample, image))
      worst = max(worst, np.sqrt(np.mean((a - b) ** 2)))
  return worst


@pytest.mark.parametrize('tiles', [1, 2, 4])
@pytest.mark.parametrize('chunk', [2, 100])
def test_distances_are_those_of_the_equation(tiles, chunk):
  samples = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
  exact = np.array([[brute(s, t, tiles) for t in TRAIN] for s in samples])
  got = extraction.extracted(samples, TRAIN, tiles=tiles, chunk=chunk)
  np.testing.assert_array_equal(got.indices, exact.argmin(axis=1))
  np.testing.assert_allclose(got.distances, exact.min(axis=1), rtol=1e-12)


def test_copies_are_found_and_counted_once():
  fresh = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 3), np.uint8)
  samples = np.concatenate([TRAIN[[7]], fresh, TRAIN[[7]], TRAIN[[2]]])
  got = extraction.extracted(samples, TRAIN, delta=0.0)
  np.testing.assert_array_equal(got.samples, [0, 3, 4])
  np.testing.assert_array_equal(got.images, [2, 7])
  assert got.distances[0] == 0


def test_the_threshold_is_inclusive():
  flat = np.zeros((1, 8, 8, 1), np.uint8)
  got = extraction.extracted(flat + np.uint8(51), flat, delta=51 / 255)
  assert got.distances[0] == pytest.approx(0.2)
  assert len(got.samples) == 1


def test_tiles_keep_different_things_on_one_background_apart():
  a, b = np.zeros((2, 1, 8, 8, 1), np.uint8)
  b[0, :2, :2] = 255  # a sixteenth of the image
  assert len(extraction.extracted(a, b, delta=0.25).samples) == 1
  assert len(extraction.extracted(a, b, delta=0.25, tiles=4).samples) == 0


@pytest.mark.parametrize(
  ('samples', 'tiles', 'match'),
  [
    (TRAIN / 255, 1, 'not uint8'),
    (TRAIN[:, :4], 1, 'differ in shape'),
    (TRAIN, 3, 'do not divide'),
    (TRAIN[:0], 1, 'not uint8'),
  ],
)
def test_images_that_cannot_be_compared_are_refused(samples, tiles, match):
  with pytest.raises(errors.DataError, match=match):
    extraction.extracted(samples, TRAIN, tiles=tiles)
