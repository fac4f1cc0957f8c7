r"""Averages of the parameters, one step at a time.

  ema <- d ema + (1 - d) params                                           (1)

with d constant, or warmed up as min(d, (1 + n) / (10 + n)) after n steps so
that early averages forget the initial parameters.

The power function's average after n + 1 steps weighs the parameters of step k
by k^gamma, however long the run: its shape is that of its rates

  d = (1 - 1 / (n + 1))^(gamma + 1).                                      (2)

The weights' standard deviation over the number of steps is its relative width,

  w = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)),                    (3)

and `posthoc` makes averages of other widths of some that were kept. Source:
Karras et al. 2024 (2312.02696), section 3.1 and appendix C.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from difjax.typing import Array, Params

_WIDEST = 0.28  # of relative widths; that of gamma = 0 is 12^-1/2


class EMA(Protocol):
  """How fast an average forgets."""

  def decay(self, step: Array) -> Array:
    """Returns d after `step` steps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantEMA:
  """The same decay throughout.

  Attributes:
    rate: d.
  """

  rate: float = 0.9999

  def decay(self, step: Array) -> Array:
    """Returns d."""
    del step
    return jnp.asarray(self.rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmedUpEMA:
  """A decay that grows to its value.

  Attributes:
    rate: d in the end.
  """

  rate: float = 0.9999

  def decay(self, step: Array) -> Array:
    """Returns min(d, (1 + n) / (10 + n))."""
    return jnp.minimum(self.rate, (1 + step) / (10 + step))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfLifeEMA:
  """A decay that is stated as the number of steps that halve a weight.

  The half-life grows with the run to its value, so that early averages forget
  the initial parameters: after n steps it is min(h, r n) (EDM's training).

  Attributes:
    half_life: h in steps: 500,000 images over the batch size for EDM's CIFAR.
    ramp: r; None for h from the first step.
  """

  half_life: float
  ramp: float | None = 0.05

  def __post_init__(self) -> None:
    if not self.half_life > 0 or (self.ramp is not None and self.ramp <= 0):
      raise ValueError(
        f'HalfLifeEMA: half_life={self.half_life} and ramp={self.ramp} must '
        'be above 0')

  def decay(self, step: Array) -> Array:
    """Returns 2^(-1 / min(h, r n)), 0 at first."""
    if self.ramp is None:
      return jnp.asarray(2 ** (-1 / self.half_life))
    half_life = jnp.minimum(self.half_life, self.ramp * step)
    return jnp.exp2(-1 / jnp.maximum(half_life, 1e-8))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerFunctionEMA:
  """A decay of averages whose width is a share of the run (2).

  Attributes:
    width: w, between 0 and 0.28.
  """

  width: float = 0.05

  def __post_init__(self) -> None:
    exponent(self.width)

  @property
  def exponent(self) -> float:
    """Returns gamma."""
    return exponent(self.width)

  def decay(self, step: Array) -> Array:
    """Returns (1 - 1 / (n + 1))^(gamma + 1), 0 at first."""
    return jnp.exp((self.exponent + 1) * jnp.log1p(-1 / (1 + step)))


def exponent(width: float) -> float:
  """Returns the gamma of a relative width (3).

  With r = w^-2 it is the largest root of

    gamma^3 + 7 gamma^2 + (16 - r) gamma + 12 - r = 0.                     (4)

  Raises:
    ValueError: there is none, or it is negative.
  """
  if not 0 < width <= _WIDEST:
    raise ValueError(
      f'the relative width of an average lies between 0 and {_WIDEST}, not '
      f'at {width}'
    )
  r = width**-2
  return float(np.roots([1, 7, 16 - r, 12 - r]).real.max())


def update(ema: EMA, average: Params, params: Params, step: Array) -> Params:
  """Moves an average towards the parameters (1)."""
  d = ema.decay(step)
  return jax.tree.map(lambda a, p: d * a + (1 - d) * p, average, params)
