import numpy as np
import pytest
from PIL import Image

from difjax import errors
from difjax.data import transforms


def rng(seed=0):
  return np.random.default_rng(seed)


def example(height=4, width=6, channels=3):
  pixels = rng(1).integers(0, 256, (height, width, channels), np.uint8)
  return {'image': pixels, 'label': np.int32(2)}


@pytest.mark.parametrize(('probability', 'turn'), [(0.0, 1), (1.0, -1)])
def test_flip_mirrors_columns(probability, turn):
  before = example()
  after = transforms.Flip(probability=probability)(before, rng())
  np.testing.assert_array_equal(after['image'], before['image'][:, ::turn])
  assert after['label'] == 2


def test_flip_happens_as_often_as_asked():
  flip, before = transforms.Flip(probability=0.25), example()
  generator = rng()
  turned = [
    (flip(before, generator)['image'] != before['image']).any()
    for _ in range(400)
  ]
  # Four standard deviations of a binomial mean.
  assert abs(np.mean(turned) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)


def test_random_crop_shifts_by_at_most_the_pad():
  before = example(5, 5, 1)
  padded = np.pad(before['image'], ((2, 2), (2, 2), (0, 0)), mode='reflect')
  windows = {
    padded[i : i + 5, j : j + 5].tobytes() for i in range(5) for j in range(5)
  }
  crop, generator = transforms.RandomCrop(pad=2), rng()
  seen = {crop(before, generator)['image'].tobytes() for _ in range(400)}
  assert seen == windows


def test_centre_crop_of_the_same_scale_is_a_slice():
  before = example(4, 8)
  after = transforms.CentreCrop(size=4)(before, rng())
  np.testing.assert_array_equal(after['image'], before['image'][:, 2:6])


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_resize_is_pillows_bicubic(channels):
  before = example(6, 9, channels)
  after = transforms.Resize(size=4)(before, rng())['image']
  assert after.shape == (4, 4, channels)
  for c in range(channels - (channels == 4)):
    plane = Image.fromarray(before['image'][..., c])
    if channels != 4:  # alpha weighs the colours of RGBA
      expected = np.asarray(plane.resize((4, 4), Image.Resampling.BICUBIC))
      np.testing.assert_array_equal(after[..., c], expected)


def test_odd_channels_are_refused():
  with pytest.raises(errors.DataError, match='2 channels'):
    transforms.Resize(size=2)(example(channels=2), rng())
