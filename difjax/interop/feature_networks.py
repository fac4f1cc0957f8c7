"""Feature networks as configs name them: which file, read in which way."""

from __future__ import annotations

import dataclasses

from difjax import config as configs
from difjax import errors
from difjax.evaluation import feature_nets
from difjax.interop import inception as inceptions
from difjax.interop import resnet
from difjax.metrics import inception, resize
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
    if self.convention not in resize.CONVENTIONS:
      near = configs.nearest(self.convention, resize.CONVENTIONS)
      raise errors.ConfigError(
        f'there is no convention {self.convention!r}; there are: '
        f'{", ".join(resize.CONVENTIONS)}'
        + (f'; did you mean {near!r}?' if near else '')
      )

  def load(self) -> feature_nets.Net:
    """Reads the weights.

    Raises:
      DataError: the file is not there; the line says where to get it.
      CheckpointError: it holds other weights.
    """
    found = inceptions.load(self.path, resize.CONVENTIONS[self.convention])
    names = feature_nets.Names() if found.published else None
    return feature_nets.Extracted(found, _of_inception, self.batch, names)


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


def _of_inception(found: inception.Activations) -> feature_nets.Activations:
  return feature_nets.Activations(
    pooled=found.pool_3, spatial=found.spatial, logits=found.logits,
    unbiased=found.unbiased,
  )  # fmt: skip


def _of_resnet(found: resnets.Activations) -> feature_nets.Activations:
  return feature_nets.Activations(pooled=found.pooled, logits=found.logits)
