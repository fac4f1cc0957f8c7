"""From images to the activations of a feature network, a batch at a time.

Every batch has one shape, the last being filled up, and products have the full
precision of float32 on accelerators too: features are compared to 1e-4, and a
distance of them is no place to save time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from difjax import compilation, errors
from difjax.metrics import resize
from difjax.typing import Array, Params


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Extractor:
  """A feature network with its weights and its way to read images.

  Attributes:
    network: maps images [B, H, W, C] in its range to a tuple of activations.
    params: its parameters.
    convention: how uint8 becomes that range and size.
    size: (H, W) that the network reads; None for that of the images.
    sha256: of the file of weights.
    published: the weights are those that figures are published with.
    family: what a Frechet distance on the network is named after.
  """

  network: nn.Module
  params: Params
  convention: resize.Convention
  size: tuple[int, int] | None
  sha256: str
  published: bool
  family: str

  @property
  def title(self) -> str:
    """Names the network, with other weights than the published by sha256."""
    return self.family if self.published else (
      f'{self.family}_{self.sha256[:8]}')

  def function(
    self, select: Callable[[Any], Any]
  ) -> Callable[[Params, Array], Any]:
    """Compiles (params, uint8 [B, H, W, C]) to selected activations."""

    def activations(params: Params, images: Array) -> Any:
      with jax.default_matmul_precision('highest'):
        x = self.convention(images, self.size or images.shape[1:3])
        return select(self.network.apply({'params': params}, x))

    return jax.jit(activations, compiler_options=compilation.options())

  def batches(
    self, images: Array, select: Callable[[Any], Any], batch: int = 32
  ) -> Iterator[Any]:
    """Yields selected activations batch by batch, on the host.

    Args:
      images: uint8 [N, H, W, C], C being 1 (shown as grey) or 3.
      select: from what the network gives to a tree of arrays, such as
        `operator.attrgetter('pool_3')`. What is not selected is not computed.
      batch: images at once.

    Raises:
      DataError: the images are not such.
    """
    images = check_images(images)
    compiled, params = self.function(select), jax.device_put(self.params)
    for start in range(0, len(images), batch):
      part = images[start:start + batch]
      full = np.concatenate([part, np.repeat(part[:1], batch - len(part), 0)])
      found = jax.device_get(compiled(params, full))
      count = len(part)
      yield jax.tree.map(lambda leaf, n=count: leaf[:n], found)

  def __call__(
    self, images: Array, select: Callable[[Any], Any], batch: int = 32
  ) -> Any:
    """Returns the activations of all images; see `batches`."""
    found = list(self.batches(images, select, batch))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def check_images(images: Array) -> np.ndarray:
  """Returns images as uint8 [N, H, W, 3].

  Raises:
    DataError: they are none, not uint8, or neither grey nor in three colours.
  """
  images = np.asarray(images)
  if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
    raise errors.DataError(
      f'images are {images.dtype} {images.shape}: a feature network reads '
      'uint8 [N, H, W, C]; round them first')
  if images.shape[-1] not in (1, 3):
    raise errors.DataError(
      f'images have {images.shape[-1]} channels: a feature network reads 1 '
      'or 3')
  return np.broadcast_to(images, (*images.shape[:3], 3))
