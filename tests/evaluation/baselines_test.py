"""Baselines of hand-made classes."""

import numpy as np
import pytest

from difjax import data, errors
from difjax.evaluation import baselines


def labelled(pixels, labels):
  images = np.array(pixels, np.uint8).reshape(len(pixels), 1, -1, 1)
  return baselines.Labelled(images, np.array(labels))


def test_class_means():
  train = labelled([[0, 10], [4, 20], [200, 7]], [0, 0, 1])
  means = baselines.class_means(train, np.array([1, 0, 1]))
  np.testing.assert_array_equal(
    means.images[:, 0, :, 0], [[200, 7], [2, 15], [200, 7]]
  )
  np.testing.assert_array_equal(means.labels, [1, 0, 1])


def test_class_gaussian_has_the_moments_of_its_class():
  rng = np.random.default_rng(0)
  shared = rng.normal(0, 10, (400, 1))
  pixels = np.rint(100 + shared + rng.normal(0, 3, (400, 2)))
  train = labelled(
    np.concatenate([pixels, np.full((5, 2), 9)]), [3] * 400 + [1] * 5
  )
  drawn = baselines.class_gaussian(train, np.array([1] + [3] * 4000), rng)
  np.testing.assert_array_equal(drawn.images[0].ravel(), [9, 9])
  flat = drawn.images[1:].reshape(-1, 2)
  np.testing.assert_allclose(flat.mean(0), pixels.mean(0), atol=1)
  np.testing.assert_allclose(np.cov(flat.T), np.cov(pixels.T), rtol=0.1)


def test_class_gaussian_is_clipped_to_bytes():
  train = labelled([[0, 255], [255, 0]] * 4, [0] * 8)
  drawn = baselines.class_gaussian(
    train, np.zeros(500, int), np.random.default_rng(1)
  )
  assert (drawn.images.min(), drawn.images.max()) == (0, 255)
  # Unclipped values that wrapped would leave the anti-diagonal.
  assert np.abs(drawn.images.sum(axis=(1, 2, 3), dtype=int) - 255).max() <= 1


def test_a_class_that_was_never_seen_is_refused():
  train = labelled([[0, 1], [2, 3]], [0, 0])
  with pytest.raises(errors.DataError):
    baselines.class_gaussian(train, np.array([1]), np.random.default_rng(0))


def test_draw_takes_images_with_their_labels():
  images = labelled(np.arange(10)[:, None], np.arange(10))
  drawn = images.draw(6, np.random.default_rng(0))
  np.testing.assert_array_equal(drawn.images.ravel(), drawn.labels)
  assert len(set(drawn.labels)) == 6


@pytest.mark.parametrize(
  ('images', 'labels'),
  [
    (np.zeros((2, 4, 4, 1), np.float32), np.zeros(2)),
    (np.zeros((2, 4, 4), np.uint8), np.zeros(2)),
    (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3)),
  ],
)
def test_what_is_no_labelled_image_is_refused(images, labels):
  with pytest.raises(errors.DataError):
    baselines.Labelled(images, labels)


class Unlabelled(data.Source):
  """Images of some widths."""

  def __init__(self, *widths):
    self.widths = widths

  def __len__(self):
    return len(self.widths)

  def __getitem__(self, i):
    return {'image': np.full((2, self.widths[i], 1), i, np.uint8)}


def test_images_need_no_labels():
  found = baselines.images(Unlabelled(3, 3))
  np.testing.assert_array_equal(found[:, 0, 0, 0], [0, 1])


def test_sources_that_cannot_be_judged_are_one_line():
  with pytest.raises(errors.DataError, match='Unlabelled has no labels'):
    baselines.labelled(Unlabelled(3, 3))
  with pytest.raises(errors.DataError, match='2 x 3 x 1 and 2 x 4 x 1 make no'):
    baselines.images(Unlabelled(4, 3))
