r"""Averages of the parameters, one step at a time.

  ema <- d ema + (1 - d) params                                           (1)

with d constant, or warmed up as min(d, (1 + n) / (10 + n)) after n steps so
that early averages forget the initial parameters.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from difjax.typing import Array, Params


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


def update(ema: EMA, average: Params, params: Params, step: Array) -> Params:
  """Moves an average towards the parameters (1)."""
  d = ema.decay(step)
  return jax.tree.map(lambda a, p: d * a + (1 - d) * p, average, params)
