import io

import numpy as np
import pytest
from PIL import Image

from difjax import errors
from difjax.data import images

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image, form='PNG', **options):
  buffer = io.BytesIO()
  image.save(buffer, form, **options)
  return buffer.getvalue()


@pytest.mark.parametrize(
  ('form', 'options'),
  [('PNG', {}), ('BMP', {}), ('WEBP', {'lossless': True})],
)
def test_lossless_forms_give_the_pixels(form, options):
  data = encoded(Image.fromarray(PIXELS), form, **options)
  np.testing.assert_array_equal(images.decode(data, 'a', 3), PIXELS)


def test_png_round_trip():
  for channels in (1, 3, 4):
    pixels = np.resize(PIXELS, (4, 6, channels))
    data = images.encode_png(pixels)
    np.testing.assert_array_equal(images.decode(data, 'a', channels), pixels)


def test_grey_and_colour_are_converted():
  grey = Image.fromarray(PIXELS[..., 0])
  found = images.decode(encoded(grey), 'a', 3)
  np.testing.assert_array_equal(found, PIXELS[..., :1].repeat(3, axis=-1))
  found = images.decode(encoded(Image.fromarray(PIXELS)), 'a', 1)[..., 0]
  # ITU-R 601-2 luma, as Pillow states for mode L.
  luma = PIXELS @ np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(found, luma, atol=1)


def test_exif_orientation_is_ignored():
  exif = Image.Exif()
  exif[0x0112] = 6  # shown turned by a quarter
  data = encoded(Image.fromarray(PIXELS), 'JPEG', exif=exif)
  assert images.decode(data, 'a', 3).shape == (5, 7, 3)


def test_what_is_no_image_is_named():
  data = encoded(Image.fromarray(PIXELS))
  for broken in (b'', b'no image', data[:40], data[:-30]):
    with pytest.raises(errors.DataError, match=r'^b/c\.png: not a readable'):
      images.decode(broken, 'b/c.png', 3)
  deep = Image.fromarray(np.full((2, 2), 40_000, np.uint16))
  with pytest.raises(errors.DataError, match='8 bits'):
    images.decode(encoded(deep), 'b/c.png', 1)


def test_centre_crop_halves_by_boxes_then_cuts():
  # 4 x 6 blocks of 2 x 2 pixels: one halving gives the blocks' values, and the
  # bicubic step is then the identity.
  values = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
  image = Image.fromarray(values.repeat(2, axis=0).repeat(2, axis=1))
  found = np.asarray(images.centre_crop(image, 4))
  np.testing.assert_array_equal(found, values[:, 1:5])


@pytest.mark.parametrize(('width', 'height'), [(40, 25), (25, 40), (9, 17)])
def test_centre_crop_keeps_colours_and_gives_the_size(width, height):
  image = Image.new('RGB', (width, height), (10, 200, 30))
  found = np.asarray(images.centre_crop(image, 12))
  assert found.shape == (12, 12, 3)
  assert (found == (10, 200, 30)).all()


def test_centre_crop_of_odd_margins_floors():
  # ADM starts the crop at floor((7 - 4) / 2) = 1.
  image = Image.fromarray(np.tile(np.arange(7, dtype=np.uint8), (4, 1)))
  found = np.asarray(images.centre_crop(image, 4))
  assert found[0].tolist() == [1, 2, 3, 4]

