"""Batches through a network whose output is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from flax import linen as nn

from difjax import errors
from difjax.metrics import features, resize


class Means(nn.Module):
  """A network without parameters: means of channels, and their doubles."""

  @nn.compact
  def __call__(self, x):
    return x.mean((1, 2)), 2 * x.mean((1, 2))


def extractor(**changes):
  fields = dict(
    network=Means(), params={}, convention=resize.PYTORCH_FID, size=(4, 4),
    sha256='0123456789', published=True, family='means')
  return features.Extractor(**{**fields, **changes})


def test_batches_are_put_together_in_order():
  images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones(
    (1, 2, 2, 3), np.uint8)
  once, twice = extractor()(images, lambda found: found, batch=3)
  expected = np.repeat(np.arange(7)[:, None] / 127.5 - 1, 3, axis=1)
  np.testing.assert_allclose(once, expected, atol=1e-6)
  np.testing.assert_allclose(twice, 2 * expected, atol=1e-6)


def test_grey_is_shown_in_three_colours():
  images = np.full((1, 2, 2, 1), 255, np.uint8)
  found = extractor()(images, lambda found: found[0])
  np.testing.assert_allclose(found, np.ones((1, 3)), atol=1e-6)


def test_other_weights_are_named():
  assert extractor().title == 'means'
  assert extractor(published=False).title == 'means_01234567'


@pytest.mark.parametrize(
  ('images', 'message'),
  [
    (np.zeros((2, 4, 4, 3)), 'images are float64'),
    (np.zeros((2, 4, 4), np.uint8), 'images are uint8'),
    (np.zeros((0, 4, 4, 3), np.uint8), 'images are uint8'),
    (np.zeros((2, 4, 4, 4), np.uint8), '4 channels'),
  ],
)  # fmt: skip
def test_what_is_no_image_is_refused(images, message):
  with pytest.raises(errors.DataError, match=message):
    extractor()(images, lambda found: found)
