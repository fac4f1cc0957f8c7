"""A source seen through transforms: the data set that a paper speaks of.

Cropping and scaling make the images; flips and the like, which differ from
epoch to epoch, belong to the pipeline instead. Samples, likelihoods and
judgements all need the former and none of the latter.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from difjax.data import source as sources
from difjax.data import transforms
from difjax.typing import Array, Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapped(sources.Wrapped):
  """Another source's examples, each changed in the same way at every reading.

  Attributes:
    transforms: applied to each example, in this order.
  """

  transforms: tuple[transforms.Transform, ...]

  def __getitem__(self, i: int) -> dict[str, Array]:
    example = self.source[i]
    for transform in self.transforms:
      example = transform(example, np.random.default_rng(i))
    return example

  def fingerprint(self) -> str:
    """Digest of the source's fingerprint and of the transforms' fields."""
    return sources.digest([self.source.fingerprint(), self._changes()])

  @property
  def shape(self) -> Shape:
    """Shape of an image after the transforms."""
    return self[0]['image'].shape

  def _changes(self) -> list[Any]:
    return [repr(transform) for transform in self.transforms]
