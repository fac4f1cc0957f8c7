import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from difjax import data, errors
from difjax.data import images, transforms


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


def test_scaled_crops_are_windows_at_every_size():
  before, generator = example(8, 12), rng()
  pillow = Image.fromarray(before['image'])
  windows = {n: set() for n in (8, 9, 10)}  # 8 / 0.8 = 10
  for side, found in windows.items():
    image = np.asarray(
      pillow.resize((round(12 * side / 8), side), Image.Resampling.BICUBIC))
    height, width, _ = image.shape
    for top in range(height - 7):
      for left in range(width - 7):
        found.add(image[top : top + 8, left : left + 8].tobytes())
  crop = transforms.ScaledCrop(size=8)
  seen = {crop(before, generator)['image'].tobytes() for _ in range(900)}
  assert seen == set.union(*windows.values())


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


def test_crop_is_the_central_square():
  before = example(218, 178)  # CelebA's
  after = transforms.Crop(size=140)(before, rng())
  # score_sde's central_crop: from (218 - 140) // 2 and (178 - 140) // 2.
  expected = before['image'][39:179, 19:159]
  np.testing.assert_array_equal(after['image'], expected)
  with pytest.raises(errors.DataError, match=r'5 pixels a side from .* 6x4'):
    transforms.Crop(size=5)(example(4, 6), rng())


@pytest.mark.parametrize(
  ('kernel', 'method'), [('bilinear', 'linear'), ('bicubic', 'cubic')]
)
def test_resize_is_antialiased_as_tf_image(kernel, method):
  # jax.image.resize is tf.image.resize(antialias=True), bicubic with a = -1/2
  # as all three. TensorFlow keeps floats; Pillow rounds after each axis, half
  # a level times the kernel's absolute sum (1, or 1.3) and another half.
  before = example(140, 140)
  before['image'] = 64 + before['image'] // 2  # so that nothing is clipped
  after = transforms.Resize(size=64, filter=kernel)(before, rng())['image']
  exact = jax.image.resize(
    before['image'].astype(np.float32), (64, 64, 3), method, antialias=True
  )
  difference = np.abs(after - exact)
  assert difference.max() <= 1.2
  assert difference.mean() < 0.35
  plain = jax.image.resize(
    before['image'].astype(np.float32), (64, 64, 3), method, antialias=False
  )
  assert np.abs(after - plain).mean() > 3  # the test sees antialiasing


def test_celeba_is_cropped_and_scaled(tmp_path):
  # img_align_celeba.zip, 178 x 218; score_sde: crop to 140, bilinear to 64.
  pixels = rng(3).integers(40, 200, (218, 178, 3), np.uint8)
  with zipfile.ZipFile(tmp_path / 'img_align_celeba.zip', 'w') as file:
    file.writestr('img_align_celeba/000001.png', images.encode_png(pixels))
  source = data.Mapped(
    source=data.ImageFolder(path=str(tmp_path / 'img_align_celeba.zip')),
    transforms=(
      transforms.Crop(size=140),
      transforms.Resize(size=64, filter='bilinear'),
    ),
  )
  assert source.shape == (64, 64, 3)
  exact = jax.image.resize(
    pixels[39:179, 19:159].astype(np.float32), (64, 64, 3), 'linear'
  )
  assert np.abs(source[0]['image'] - exact).max() <= 1.01
