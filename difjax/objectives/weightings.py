r"""How much the error at each time counts.

A weighting is stated where it is simplest, as a weight on the squared error of
one target z. For a network that regresses y it is multiplied by

  (D_z / D_y)^2,                                                          (1)

the ratio of the targets' determinants (`denoising.targets`, equation 3): the
same loss, whatever the network puts out.

| weighting   | error of   | weight                       | source            |
|-------------|------------|------------------------------|-------------------|
| UniformWeighting     | a target   | 1                            | Ho et al. 2020    |
| LikelihoodWeighting  | score      | g^2                          | Song et al. 2021  |
| EDMWeighting         | x_0        | (s^2 + d^2) / (s d)^2, s = sigma / alpha | Karras et al. 2022 |
| MinSNRWeighting      | x_0        | min(SNR, gamma)              | Hang et al. 2023  |
| TruncatedSNRWeighting | x_0       | max(SNR, 1)                  | Salimans & Ho 2022 |
| SigmoidWeighting     | eps        | sigmoid(b - lambda) (-dlambda/dt) | Hoogeboom et al. 2024 |

Sigmoid weights the noise's error over lambda, hence the slope; all others are
averaged over the time sampler's density as it is.
"""  # noqa: E501, a table

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from difjax.denoising import targets
from difjax.processes import base
from difjax.typing import Array


class Weighting(Protocol):
  """Weighs the squared error of a network's output."""

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t, for a network of this target."""


def converted(
  weight: Array,
  stated: targets.Target,
  target: targets.Target,
  process: base.Process,
  t: Array,
) -> Array:
  """Converts a weight on one target's error to another's (1)."""
  ratio = targets.determinant(stated, process, t) / targets.determinant(
    target, process, t
  )
  return weight * ratio**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniformWeighting:
  """Weight 1 on the error of a target.

  Attributes:
    of: that target; None for what the network puts out.
  """

  of: targets.Target | None = None

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t."""
    one = jnp.ones_like(base.as_time(t))
    return converted(one, self.of or target, target, process, t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LikelihoodWeighting:
  """Weight g^2 on the score's error: a bound on the likelihood.

  Attributes:
    factor: of the weight: 1/2 for the bound itself, as SiT has it.
  """

  factor: float = 1.0

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t."""
    weight = self.factor * process.diffusion2(t)
    return converted(weight, targets.Score(), target, process, t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EDMWeighting:
  """EDM's weight: 1 on the error of its preconditioned output.

  Attributes:
    data_std: d, the standard deviation of the data.
  """

  data_std: float = 0.5

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t."""
    s2 = jnp.exp(-process.logsnr(t))
    d2 = self.data_std**2
    return converted(
      (s2 + d2) / (s2 * d2), targets.Data(), target, process, t
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinSNRWeighting:
  """Weight min(SNR, gamma) on the data's error.

  Attributes:
    gamma: the cap.
  """

  gamma: float = 5.0

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t."""
    weight = jnp.minimum(jnp.exp(process.logsnr(t)), self.gamma)
    return converted(weight, targets.Data(), target, process, t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruncatedSNRWeighting:
  """Weight max(SNR, 1) on the data's error."""

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t."""
    weight = jnp.maximum(jnp.exp(process.logsnr(t)), 1)
    return converted(weight, targets.Data(), target, process, t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidWeighting:
  """Weight sigmoid(bias - lambda) on the noise's error, over lambda.

  Attributes:
    bias: b; larger counts low noise more.
  """

  bias: float = -3.0

  def __call__(
    self, process: base.Process, target: targets.Target, t: Array
  ) -> Array:
    """Returns the weight in the shape of t."""
    slope = base.derivative(process.logsnr, t)
    weight = -slope * jax.nn.sigmoid(self.bias - process.logsnr(t))
    return converted(weight, targets.Noise(), target, process, t)
