r"""Rectified flow: the straight line between data and noise.

  alpha = 1 - t,   sigma = t.                                             (1)

Source: Liu et al. 2023, Flow Straight and Fast, equation 1, and Lipman et al.
2023, Flow Matching; time runs from data (t = 0) to noise here as everywhere.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from difjax.processes import base
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class RectifiedFlow(base.Process):
  """The linear interpolant (1); alpha(t_max) = 1e-3."""

  t_min: float = 1e-4
  t_max: float = 0.999

  def alpha(self, t: Array) -> Array:
    """Returns 1 - t."""
    return 1 - base.as_time(t)

  def sigma(self, t: Array) -> Array:
    """Returns t."""
    return base.as_time(t)

  def drift(self, t: Array) -> Array:
    """Returns -1 / (1 - t)."""
    return -1 / self.alpha(t)

  def diffusion2(self, t: Array) -> Array:
    """Returns 2 t / (1 - t)."""
    return 2 * self.sigma(t) / self.alpha(t)

  def logsnr(self, t: Array) -> Array:
    """Returns 2 log((1 - t) / t)."""
    t = base.as_time(t)
    return 2 * (jnp.log1p(-t) - jnp.log(t))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Returns 1 / (1 + exp(lambda / 2))."""
    return jax.nn.sigmoid(-0.5 * base.as_time(logsnr))

  def prior_std(self) -> float:
    """Returns 1: the noise end of the line."""
    return 1.0
