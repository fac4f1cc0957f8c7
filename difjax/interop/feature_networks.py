"""Feature networks as configs name them: which file, read in which way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from difjax import config as configs
from difjax import errors
from difjax.evaluation import feature_nets
from difjax.interop import dinov2 as dinov2s
from difjax.interop import inception as inceptions
from difjax.interop import resnet
from difjax.metrics import dinov2, inception, resize
from difjax.metrics import resnet as resnets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inception:
  """The network of FID, sFID, KID and the Inception Score.

  Attributes:
    path: of the weights; None for the published file in the folder of weights.
    convention: how images come to it, a name of `metrics.resize.CONVENTIONS`.
    batch: images at once.
  """

  path: str | None = None
  convention: str = 'tensorflow'
  batch: int = 64

  def __post_init__(self) -> None:
    _check(self.convention, resize.CONVENTIONS)

  def load(self) -> feature_nets.Net:
    """Reads the weights.

    Raises:
      DataError: the file is not there; the line says where to get it.
      CheckpointError: it holds other weights.
    """
    found = inceptions.load(self.path, resize.CONVENTIONS[self.convention])
    names = feature_nets.Names() if found.published else None
    return feature_nets.Extracted(
      found, _of_inception, self.batch, names, self.convention
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dinov2:
  """The network of FD-DINOv2, a distance that follows what people see.

  Attributes:
    path: of the weights, of any size; None for ViT-L/14 in the folder of
      weights.
    convention: how images come to it, a name of `interop.dinov2.CONVENTIONS`.
    batch: images at once.
  """

  path: str | None = None
  convention: str = 'dgm-eval'
  batch: int = 32

  def __post_init__(self) -> None:
    _check(self.convention, dinov2s.CONVENTIONS)

  def load(self) -> feature_nets.Net:
    """Reads the weights.

    Raises:
      DataError: the file is not there; the line says where to get it.
      CheckpointError: it holds other weights.
    """
    found = dinov2s.load(self.path, dinov2s.CONVENTIONS[self.convention])
    return feature_nets.Extracted(
      found, _of_dinov2, self.batch, convention=self.convention
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resnet:
  """A classifier of CIFAR-10: 64 pooled features, ten logits.

  Attributes:
    path: of the weights; None for ResNet-56 in the folder of weights.
    batch: images at once.
  """

  path: str | None = None
  batch: int = 256

  def load(self) -> feature_nets.Net:
    """Reads the weights.

    Raises:
      DataError: the file is not there; the line says where to get it.
      CheckpointError: it holds other weights.
    """
    return feature_nets.Extracted(
      resnet.load(self.path), _of_resnet, self.batch
    )


def _check(name: str, known: Mapping[str, resize.Convention]) -> None:
  """Refuses the name of no convention, in one line."""
  if name not in known:
    near = configs.nearest(name, known)
    raise errors.ConfigError(
      f'there is no convention {name!r}; there are: {", ".join(known)}'
      + (f'; did you mean {near!r}?' if near else '')
    )


def _of_inception(found: inception.Activations) -> feature_nets.Activations:
  return feature_nets.Activations(
    pooled=found.pool_3, spatial=found.spatial, logits=found.logits,
    unbiased=found.unbiased,
  )  # fmt: skip


def _of_dinov2(found: dinov2.Activations) -> feature_nets.Activations:
  return feature_nets.Activations(pooled=found.pooled)


def _of_resnet(found: resnets.Activations) -> feature_nets.Activations:
  return feature_nets.Activations(pooled=found.pooled, logits=found.logits)
