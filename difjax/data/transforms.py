"""Changes to one example on the host: augmentation and preparation.

A transform maps (example, rng) to an example whose image is still uint8. The
pipeline keys `rng` by (seed, epoch, index), so that an example looks the same
in a given epoch on whatever host and after whatever restart.

CelebA as papers have it, 178 x 218 -> 140 -> 64, is a `Crop` and a bilinear
`Resize`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, Protocol

import numpy as np

from difjax import errors
from difjax.data import images
from difjax.typing import Array


class Transform(Protocol):
  """A change to one example."""

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """A changed copy of the example; `rng` is its alone."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip:
  """Mirrors left and right with the given probability."""

  probability: float = 0.5

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """Flips the W axis of image [H, W, C], or leaves it."""
    flipped = rng.random() < self.probability
    return _with(example, example['image'][:, :: -1 if flipped else 1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCrop:
  """Pads by reflection, then crops a window of the first size.

  Attributes:
    pad: pixels added to each side.
  """

  pad: int

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """Shifts image [H, W, C] by up to `pad` pixels along each axis."""
    image, p = example['image'], self.pad
    height, width, _ = image.shape
    top, left = rng.integers(0, 2 * p + 1, size=2)
    padded = np.pad(image, ((p, p), (p, p), (0, 0)), mode='reflect')
    return _with(example, padded[top : top + height, left : left + width])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledCrop:
  """Scales as ADM does to a random size, then crops a random window.

  ADM's classifiers are trained so (Dhariwal and Nichol 2021, official code).

  Attributes:
    size: side of the window.
    least: of the short side, what the window shows at least.
  """

  size: int
  least: float = 0.8

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """Image [H, W, C] to [size, size, C]."""
    n = self.size
    side = int(rng.integers(n, math.ceil(n / self.least), endpoint=True))
    image = _from_pil(images.scaled(_to_pil(example['image']), side))
    height, width, _ = image.shape
    top = rng.integers(height - n, endpoint=True)
    left = rng.integers(width - n, endpoint=True)
    return _with(example, image[top : top + n, left : left + n])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CentreCrop:
  """ADM's scaling and central square (`images.centre_crop`)."""

  size: int

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """Image [H, W, C] to [size, size, C]."""
    cropped = images.centre_crop(_to_pil(example['image']), self.size)
    return _with(example, _from_pil(cropped))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
  """The central square of `size` pixels a side, nothing scaled."""

  size: int

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """Image [H, W, C] to [size, size, C]."""
    image, n = example['image'], self.size
    height, width, _ = image.shape
    if min(height, width) < n:
      raise errors.DataError(
        f'cannot crop {n} pixels a side from an image of {width}x{height}'
      )
    top, left = (height - n) // 2, (width - n) // 2
    return _with(example, image[top : top + n, left : left + n])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize:
  """Scaling to a square with antialiasing; the aspect ratio is not kept.

  Attributes:
    size: pixels a side.
    filter: the kernel, widened by the scale where the image shrinks. This is
      tf.image.resize with antialias=True, to rounding.
  """

  size: int
  filter: Literal['bicubic', 'bilinear', 'lanczos', 'box'] = 'bicubic'

  def __call__(
    self, example: dict[str, Array], rng: np.random.Generator
  ) -> dict[str, Array]:
    """Image [H, W, C] to [size, size, C]."""
    from PIL import Image

    image = _to_pil(example['image'])
    kernel = Image.Resampling[self.filter.upper()]
    scaled = image.resize((self.size, self.size), kernel)
    return _with(example, _from_pil(scaled))


def _with(example: dict[str, Array], image: Array) -> dict[str, Array]:
  return {**example, 'image': image}


def _to_pil(image: Array) -> images.Image.Image:
  from PIL import Image

  if image.shape[-1] not in images.MODES:
    raise errors.DataError(
      f'cannot scale an image of {image.shape[-1]} channels: 1, 3 or 4 work'
    )
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _from_pil(image: images.Image.Image) -> Array:
  return np.asarray(image).reshape(image.height, image.width, -1)
