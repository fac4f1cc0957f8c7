"""Which training images can be read off the samples, pixel by pixel.

Carlini et al. 2023 (arXiv 2301.13188, section 4) call x extracted by
a sample g if they agree in every tile up to delta,

  (1)  max over tiles of sqrt(1/P sum_{pixels of the tile} (g - x)^2) <= delta,

with pixels in [0, 1] and P values in a tile. One tile is the plain l2
criterion; the maximum over 4 x 4 tiles keeps two different things before the
same flat background apart. Pixels are uint8, so in float64 products of matrices
the sums of (1) are integers without rounding.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax import errors
from difjax.metrics import distances
from difjax.typing import Array

_ENTRIES = 2**24  # distances held at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extraction:
  """The training image that each sample is nearest to, by (1).

  Attributes:
    indices: [N] of the training images; of equals, the lowest.
    distances: [N], the left-hand side of (1), in [0, 1].
    delta: the threshold.
  """

  indices: np.ndarray
  distances: np.ndarray
  delta: float

  @property
  def samples(self) -> np.ndarray:
    """Indices of the samples that repeat a training image."""
    return np.nonzero(self.distances <= self.delta)[0]

  @property
  def images(self) -> np.ndarray:
    """Indices of the training images that are repeated, each once."""
    return np.unique(self.indices[self.samples])


def extracted(
  samples: Array,
  train: Array,
  delta: float = 0.1,
  tiles: int = 1,
  chunk: int = distances.CHUNK,
) -> Extraction:
  """Finds training images that samples repeat in the sense of (1).

  Args:
    samples: [N, H, W, C] uint8.
    train: [T, H, W, C] uint8.
    delta: the threshold, of which the paper uses 0.1 to 0.15.
    tiles: tiles along each side, a divisor of H and W; 4 is the paper's choice
      for photographs of 512 pixels.
    chunk: rows of distances held at once, at most.

  Raises:
    DataError: images that are no uint8 or differ in shape, or tiles that do not
      divide them.
  """
  samples, train = _as_tiles(samples, tiles), _as_tiles(train, tiles)
  if samples[0].shape[1] != train[0].shape[1] or len(samples) != len(train):
    raise errors.DataError(
      'samples and training images differ in shape: resize them alike'
    )
  count, size = samples[0].shape
  step = max(1, min(chunk, _ENTRIES // len(train[0])))
  indices, worst = [], []
  for start in range(0, count, step):
    squared = _squared([tile[start : start + step] for tile in samples], train)
    nearest = np.argmin(squared, axis=1)
    indices.append(nearest)
    worst.append(np.take_along_axis(squared, nearest[:, None], axis=1)[:, 0])
  return Extraction(
    indices=np.concatenate(indices),
    distances=np.sqrt(np.concatenate(worst) / size) / 255,
    delta=delta,
  )


def _as_tiles(images: Array, tiles: int) -> list[np.ndarray]:
  """Tiles [N, P] of images [N, H, W, C], as float64 integers."""
  images = np.asarray(images)
  if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
    raise errors.DataError(
      f'images are {images.dtype} {images.shape}, not uint8 [N, H, W, C]: '
      'round them as the samples were rounded'
    )
  count, height, width, _ = images.shape
  if height % tiles or width % tiles:
    raise errors.DataError(
      f'{tiles} tiles a side do not divide images of {height} x {width}: set '
      'a divisor'
    )
  return [
    tile.reshape(count, -1).astype(np.float64)
    for row in np.split(images, tiles, axis=1)
    for tile in np.split(row, tiles, axis=2)
  ]


def _squared(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
  """Largest squared distance [R, M] over the tiles [R, P] and [M, P]."""
  worst = np.zeros((len(a[0]), len(b[0])))
  for x, y in zip(a, b, strict=True):
    size = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)
    np.maximum(worst, size - 2 * x @ y.T, out=worst)
  return worst
