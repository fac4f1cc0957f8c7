"""Feature networks as evaluation uses them: streams of bytes to activations.

A network is configured as `interop.Inception`, `interop.Dinov2`,
`interop.Resnet` or, without any network, `Pixels`. A figure is named after what
it was made with: `fid` is that of the published Inception alone, `fd_resnet56`
that of another network, and that of other weights has their hash in its name.

To add a network: a frozen dataclass whose `load` returns an `Extracted`.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from difjax import errors
from difjax.metrics import features


class Activations(NamedTuple):
  """What figures are made of, of B images; None is what a network has not.

  Attributes:
    pooled: [B, d], what distances compare.
    spatial: [B, e], of sFID.
    logits: [B, K], of the Inception Score.
    unbiased: [B, K], the same without the last bias, of ADM's.
  """

  pooled: Any
  spatial: Any = None
  logits: Any = None
  unbiased: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
  """What figures on a network are called."""

  distance: str = 'fid'
  spatial: str = 'sfid'
  kernel: str = 'kid'
  score: str = 'inception_score'

  @classmethod
  def of(cls, title: str) -> Names:
    """Names figures on anything but the published Inception."""
    return cls(
      distance=f'fd_{title}', spatial=f'sfd_{title}', kernel=f'kd_{title}',
      score=f'class_score_{title}',
    )  # fmt: skip


class Net(Protocol):
  """A network that is loaded.

  Attributes:
    names: of the figures.
    facts: all about it that moves a figure, as JSON has it.
  """

  names: Names
  facts: Mapping[str, Any]

  def __call__(
    self, batches: Iterable[np.ndarray]
  ) -> Iterator[Activations]:
    """Yields the activations of batches uint8 [n, H, W, C], on the host."""


class Network(Protocol):
  """What to load, as a config says it."""

  def load(self) -> Net:
    """Loads it; DataError or CheckpointError where that cannot be."""


class Extracted:
  """A network of `metrics.features`."""

  def __init__(
    self,
    extractor: features.Extractor,
    select: Callable[[Any], Activations],
    batch: int,
    names: Names | None = None,
    convention: str = 'its own',
  ) -> None:
    """Takes a network.

    Args:
      extractor: the network.
      select: from what it gives to activations.
      batch: images at once; shorter batches are filled up.
      names: of the figures; those of the extractor's title by default.
      convention: what the way in which images come to it is called.
    """
    self.names = names or Names.of(extractor.title)
    self.facts = _facts(extractor, convention)
    self._batch = batch
    self._compiled = extractor.function(select)
    self._params = [
      (device, jax.device_put(extractor.params, device))
      for device in jax.local_devices()
    ]

  def __call__(
    self, batches: Iterable[np.ndarray]
  ) -> Iterator[Activations]:
    """Yields the activations of batches, each device at work on one of them."""
    pending = collections.deque()
    parts = (
      part[start : start + self._batch]
      for part in batches
      for start in range(0, len(part), self._batch)
    )
    for i, part in enumerate(parts):
      device, params = self._params[i % len(self._params)]
      images = features.check_images(part)
      spare = np.repeat(images[:1], self._batch - len(part), 0)
      full = jax.device_put(np.concatenate([images, spare]), device)
      pending.append((len(part), self._compiled(params, full)))
      if len(pending) > len(self._params):
        yield _read(*pending.popleft())
    while pending:
      yield _read(*pending.popleft())


def _read(count: int, found: Activations) -> Activations:
  """Brings the activations of the first images to the host."""
  return jax.tree.map(lambda leaf: leaf[:count], jax.device_get(found))


def _facts(extractor: features.Extractor, convention: str) -> dict[str, Any]:
  """Returns all of an extractor that moves a figure."""
  way = extractor.convention
  return {
    'title': extractor.title,
    'weights_sha256': extractor.sha256,
    'published_weights': extractor.published,
    'convention': convention,
    'resize': way.matrix.__name__,
    'rounded': way.rounded,
    'clipped': way.clipped,
    'size': list(extractor.size) if extractor.size else None,
    'zero': list(way.zero),
    'unit': list(way.unit),
    'precision': 'float32, highest',
  }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
  """No network: the pixels in [0, 1], for small images.

  Attributes:
    most: numbers of an image, above which it is refused.
  """

  most: int = 4096

  def load(self) -> Net:
    """Returns itself at work."""
    return _Pixels(self.most)


class _Pixels:
  """Pixels as features."""

  def __init__(self, most: int) -> None:
    self.names = Names.of('pixels')
    self.facts = {
      'title': 'pixels', 'resize': 'none', 'zero': [0], 'unit': [255],
      'precision': 'float32',
    }  # fmt: skip
    self._most = most

  def __call__(
    self, batches: Iterable[np.ndarray]
  ) -> Iterator[Activations]:
    for batch in batches:
      flat = batch.reshape(len(batch), -1)
      if flat.shape[1] > self._most:
        raise errors.DataError(
          f'images of {flat.shape[1]} numbers are too large to compare by '
          f'pixels: use a network, or --features.most={flat.shape[1]}'
        )
      yield Activations(flat.astype(np.float32) / np.float32(255))
