r"""Variance-exploding processes: alpha = 1, the noise alone grows.

  VE:   sigma = sigma_min (sigma_max / sigma_min)^t,   t in (0, 1],       (1)
  EDM:  sigma = t,                                                        (2)
  Brownian:  sigma = sqrt(t).                                             (3)

(3) is (1) by another clock, the variance: x is data plus Brownian motion.
Sources: (1) Song et al. 2021, Score-Based Generative Modeling through SDEs,
equation 30; (2) and (3) Karras et al. 2022, Elucidating the Design Space, table
1, the columns EDM and VE.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp

from difjax.processes import base
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class VE(base.Process):
  """Variance exploding with sigma geometric in time (1).

  Attributes:
    sigma_min: noise at t = 0, in units of data in [-1, 1]. The official
      values for data in [0, 1] are half of these.
    sigma_max: noise at t = 1.
  """

  sigma_min: float = 0.02
  sigma_max: float = 100.0
  t_min: float = 1e-5
  t_max: float = 1.0

  def __post_init__(self) -> None:
    super().__post_init__()
    if not 0 < self.sigma_min < self.sigma_max:
      raise ValueError(
        f'needs 0 < sigma_min < sigma_max, not {self.sigma_min} and '
        f'{self.sigma_max}'
      )

  def alpha(self, t: Array) -> Array:
    """Returns 1."""
    return jnp.ones_like(base.as_time(t))

  def sigma(self, t: Array) -> Array:
    """Returns sigma_min (sigma_max / sigma_min)^t."""
    return self.sigma_min * jnp.exp(self._rate * base.as_time(t))

  def drift(self, t: Array) -> Array:
    """Returns 0."""
    return jnp.zeros_like(base.as_time(t))

  def diffusion2(self, t: Array) -> Array:
    """Returns 2 sigma^2 log(sigma_max / sigma_min)."""
    return 2 * self._rate * self.sigma(t) ** 2

  def logsnr(self, t: Array) -> Array:
    """Returns -2 log(sigma), linear in t."""
    return -2 * (math.log(self.sigma_min) + self._rate * base.as_time(t))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Returns the t at which sigma = exp(-lambda / 2)."""
    log_sigma = -0.5 * base.as_time(logsnr)
    return (log_sigma - math.log(self.sigma_min)) / self._rate

  @property
  def _rate(self) -> float:
    return math.log(self.sigma_max / self.sigma_min)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EDM(base.Process):
  """Noise level as time (2)."""

  t_min: float = 0.002
  t_max: float = 80.0

  def alpha(self, t: Array) -> Array:
    """Returns 1."""
    return jnp.ones_like(base.as_time(t))

  def sigma(self, t: Array) -> Array:
    """Returns t."""
    return base.as_time(t)

  def drift(self, t: Array) -> Array:
    """Returns 0."""
    return jnp.zeros_like(base.as_time(t))

  def diffusion2(self, t: Array) -> Array:
    """Returns 2 t."""
    return 2 * base.as_time(t)

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Returns exp(-lambda / 2)."""
    return jnp.exp(-0.5 * base.as_time(logsnr))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brownian(base.Process):
  """Variance as time (3); the noise levels are those of VE."""

  t_min: float = 0.02**2
  t_max: float = 100.0**2

  def alpha(self, t: Array) -> Array:
    """Returns 1."""
    return jnp.ones_like(base.as_time(t))

  def sigma(self, t: Array) -> Array:
    """Returns sqrt(t)."""
    return jnp.sqrt(base.as_time(t))

  def drift(self, t: Array) -> Array:
    """Returns 0."""
    return jnp.zeros_like(base.as_time(t))

  def diffusion2(self, t: Array) -> Array:
    """Returns 1."""
    return jnp.ones_like(base.as_time(t))

  def logsnr(self, t: Array) -> Array:
    """Returns -log(t)."""
    return -jnp.log(base.as_time(t))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Returns exp(-lambda)."""
    return jnp.exp(-base.as_time(logsnr))
