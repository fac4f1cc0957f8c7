"""Random bytes in the shape of a data set, for benchmarks and dry runs."""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax.data import source
from difjax.typing import Array, Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic(source.Source):
  """Uniform noise; example i depends on (seed, i) alone.

  Attributes:
    length: number of examples.
    height: rows of pixels.
    width: columns of pixels.
    channels: channels of a pixel.
    classes: number of classes; 0 gives no labels.
    seed: keys the bytes.
  """

  length: int = 50_000
  height: int = 32
  width: int = 32
  channels: int = 3
  classes: int = 10
  seed: int = 0

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, i: int) -> dict[str, Array]:
    rng = np.random.default_rng((self.seed, i))
    image = rng.integers(0, 256, self.shape, np.uint8)
    if not self.classes:
      return {'image': image}
    return {'image': image, 'label': np.int32(i % self.classes)}

  def fingerprint(self) -> str:
    """Digest of the fields: they determine every byte."""
    return source.digest(dataclasses.astuple(self))

  @property
  def shape(self) -> Shape:
    """The shape asked for."""
    return self.height, self.width, self.channels

  @property
  def num_classes(self) -> int:
    """The number asked for."""
    return self.classes
