"""From encoded bytes to pixels: decoding, and the crop of ADM.

Decoding ignores EXIF orientation, as the published training sets did.
"""

from __future__ import annotations

import functools
import io
import types
from typing import TYPE_CHECKING

import numpy as np

from difjax import errors
from difjax.data import source
from difjax.typing import Array, Shape

if TYPE_CHECKING:
  from PIL import Image

SUFFIXES = frozenset({'.png', '.jpg', '.jpeg', '.webp', '.bmp'})
MODES = types.MappingProxyType({1: 'L', 3: 'RGB', 4: 'RGBA'})


class Encoded(source.Source):
  """A source of encoded images: subclasses give `encoded` and two fields.

  Attributes:
    size: side of ADM's centre crop; None asks that all images have one size,
      which is checked as they are read.
    channels: 1, 3 or 4; grey and colour images are converted to it.
  """

  size: int | None
  channels: int

  def encoded(self, i: int) -> tuple[str, bytes, int | None]:
    """Name, bytes and, where known, label of example `i`."""
    raise NotImplementedError

  def __getitem__(self, i: int) -> dict[str, Array]:
    name, data, label = self.encoded(i)
    image = decode(data, name, self.channels, self.size)
    first, shape = self._first
    if image.shape != shape:
      raise errors.DataError(
        f'{first} is {shape[1]}x{shape[0]} but {name} is {image.shape[1]}x'
        f'{image.shape[0]}: set size= to crop them to one size'
      )
    if label is None:
      return {'image': image}
    return {'image': image, 'label': np.int32(label)}

  @property
  def shape(self) -> Shape:
    """Shape (H, W, C) of the first image after the crop."""
    return self._first[1]

  @functools.cached_property
  def _first(self) -> tuple[str, Shape]:
    name, data, _ = self.encoded(0)
    return name, decode(data, name, self.channels, self.size).shape


def decode(
  data: bytes, name: str, channels: int, size: int | None = None
) -> Array:
  """Pixels of a PNG, JPEG, WebP or BMP file.

  Args:
    data: the file's bytes.
    name: what to call the file in an error.
    channels: 1 (grey), 3 (RGB) or 4 (RGBA); the image is converted.
    size: side of the centre crop; None keeps the image whole.

  Returns:
    uint8 [H, W, channels].

  Raises:
    DataError: if the bytes are not an image of eight bits a channel.
  """
  from PIL import Image, UnidentifiedImageError

  try:
    with Image.open(io.BytesIO(data)) as image:
      deep = image.mode[0] in 'IF'
      image.load()  # what has the mode is not copied for it
      if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
  except UnidentifiedImageError as e:  # its own text names an object in memory
    raise _unreadable(name, 'of no known format') from e
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    raise _unreadable(name, str(e)) from e
  if deep:
    raise errors.DataError(
      f'{name}: more than 8 bits a channel; convert it to 8 bits first'
    )
  if size is not None:
    image = centre_crop(image, size)
  return np.asarray(image).reshape(image.height, image.width, channels)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
  """Scales the short side to `size`, then crops the central square.

  This is the preparation of ADM (Dhariwal and Nichol 2021) that ImageNet
  results since compare under.
  """
  image = scaled(image, size)
  left, top = (image.width - size) // 2, (image.height - size) // 2
  return image.crop((left, top, left + size, top + size))


def scaled(image: Image.Image, size: int) -> Image.Image:
  """Scales the short side to `size`, as ADM does.

  It is halved with a box filter while it is at least 2 size, then scaled with
  a bicubic one.
  """
  from PIL import Image

  while min(image.size) >= 2 * size:
    image = image.resize(
      (image.width // 2, image.height // 2), Image.Resampling.BOX
    )
  scale = size / min(image.size)
  return image.resize(
    (round(image.width * scale), round(image.height * scale)),
    Image.Resampling.BICUBIC,
  )


def encode_png(pixels: Array) -> bytes:
  """PNG bytes of uint8 [H, W, C], C in {1, 3, 4}."""
  from PIL import Image

  buffer = io.BytesIO()
  squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  Image.fromarray(squeezed).save(buffer, 'PNG')
  return buffer.getvalue()


def _unreadable(name: str, why: str) -> errors.DataError:
  return errors.DataError(
    f'{name}: not a readable image ({why}); replace or remove the file'
  )
