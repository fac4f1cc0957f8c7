"""Pictures, read back pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from difjax.evaluation import plots


def read(content):
  return np.asarray(Image.open(io.BytesIO(content)))


def test_grid_by_hand():
  images = np.array([10, 20, 30], np.uint8).reshape(3, 1, 1, 1)
  w = 255
  np.testing.assert_array_equal(
    plots.grid(images, 2, zoom=1, gap=1)[..., 0],
    [
      [w, w, w, w, w],
      [w, 10, w, 20, w],
      [w, w, w, w, w],
      [w, 30, w, w, w],
      [w, w, w, w, w],
    ],
  )


def test_grid_enlarges_small_images_by_whole_squares():
  images = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), np.uint8)
  picture = plots.grid(images, 3)
  assert picture.shape == (2 * 74 + 2, 3 * 74 + 2, 3)
  np.testing.assert_array_equal(picture[2:74:9, 76:148:9], images[1])
  np.testing.assert_array_equal(picture[10:74:9, 84:148:9], images[1])


def test_grid_is_no_wider_than_its_images():
  images = np.zeros((2, 64, 64, 1), np.uint8)
  assert plots.grid(images, 10).shape == (68, 134, 1)


@pytest.mark.parametrize('channels', [1, 3])
def test_a_saved_picture_reads_back(tmp_path, channels):
  image = np.random.default_rng(1).integers(
    0, 255, (5, 7, channels), dtype=np.uint8
  )
  path = tmp_path / 'new' / 'picture.png'
  plots.save_png(path, image)
  np.testing.assert_array_equal(
    np.asarray(Image.open(path)).reshape(image.shape), image
  )
  assert [found.name for found in path.parent.iterdir()] == ['picture.png']


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
  path = tmp_path / 'file'
  plots.write(path, b'old')
  with pytest.raises(TypeError):
    plots.write(path, 'not bytes')
  assert path.read_bytes() == b'old'
  assert list(tmp_path.iterdir()) == [path]


def test_class_grid_puts_each_class_in_its_row():
  labels = np.array([2, 0, 2, 0, 2])
  images = (50 + 50 * labels).astype(np.uint8)[:, None, None, None]
  images = np.broadcast_to(images, (5, 4, 4, 1))
  picture = read(plots.class_grid(images, labels, ['a', 'b', 'c'], columns=2))
  opaque = picture[..., 3] == 255
  first, second = np.split(picture[..., 0], 2)
  for half, value in ((first, 50), (second, 150)):
    assert (half[:, -90:] == value).mean() > 0.9
  assert opaque[:, -90:].mean() > 0.9


def test_pairs_and_strip_have_one_row_a_kind():
  rng = np.random.default_rng(2)
  samples = rng.integers(0, 255, (5, 8, 8, 1), dtype=np.uint8)
  near = rng.integers(0, 255, (5, 3, 8, 8, 1), dtype=np.uint8)
  assert read(plots.nearest_pairs(samples, near)).shape[0] == 4 * 102 - 6 + 20
  frames = rng.integers(0, 255, (7, 2, 8, 8, 1), dtype=np.uint8)
  strip = read(plots.denoising_strip(frames, [f'λ {i}' for i in range(7)]))
  assert strip.shape[1] == 7 * 102 - 6
  np.testing.assert_array_equal(
    strip[-96::12, -96::12, 0], frames[-1, 1, ..., 0]
  )


def test_a_panel_stays_within_the_page():
  images = np.zeros((40, 32, 32, 3), np.uint8)
  assert read(plots.panel([images[:14]])).shape[1] <= plots.PAGE


def test_smoothing_by_hand():
  np.testing.assert_allclose(
    plots.smooth([4, 0, 3, 0, 6], 3), [4, 7 / 3, 1, 3, 3], atol=1e-12
  )
  np.testing.assert_array_equal(plots.smooth([4, 0, 3], 1), [4, 0, 3])


def test_curves_are_pictures_at_twice_their_size():
  x = np.arange(1, 100)
  pictures = (
    plots.loss_by_step(x, 1 / x, log_x=True),
    plots.loss_by_level(x, {'training': x, 'held-out': 2 * x}),
  )
  for picture in pictures:
    assert read(picture).shape[:2] == (620, 1440)
