r"""Variance-preserving processes: alpha^2 + sigma^2 <= 1, prior N(0, I).

With B(t) the integral of the noise rate beta from 0 to t,

  VP:      alpha = exp(-B / 2),   sigma^2 = 1 - exp(-B),                  (1)
  sub-VP:  alpha = exp(-B / 2),   sigma = 1 - exp(-B),                    (2)

and for beta linear in t, B(t) = beta_min t + (beta_max - beta_min) t^2 / 2.
Source: Song et al. 2021, Score-Based Generative Modeling through SDEs,
equations 29 to 33. The cosine schedule is

  alpha = cos(pi t / 2),   sigma = sin(pi t / 2),                         (3)

the continuous limit of Nichol & Dhariwal 2021 as in Salimans & Ho 2022.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from difjax.processes import base
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class VP(base.Process):
  """Variance preserving with beta linear in time (1).

  Attributes:
    beta_min: noise rate at t = 0.
    beta_max: noise rate at t = 1.
  """

  beta_min: float = 0.1
  beta_max: float = 20.0
  t_min: float = 1e-5
  t_max: float = 1.0

  def __post_init__(self) -> None:
    super().__post_init__()
    if not 0 < self.beta_min <= self.beta_max:
      raise ValueError(
        f'needs 0 < beta_min <= beta_max, not {self.beta_min} and '
        f'{self.beta_max}'
      )

  def beta(self, t: Array) -> Array:
    """Returns the noise rate."""
    return self.beta_min + base.as_time(t) * (self.beta_max - self.beta_min)

  def integral(self, t: Array) -> Array:
    """Returns B(t), the integral of beta."""
    t = base.as_time(t)
    return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

  def alpha(self, t: Array) -> Array:
    """Returns exp(-B / 2)."""
    return jnp.exp(-0.5 * self.integral(t))

  def sigma(self, t: Array) -> Array:
    """Returns sqrt(1 - exp(-B))."""
    return jnp.sqrt(-jnp.expm1(-self.integral(t)))

  def drift(self, t: Array) -> Array:
    """Returns -beta / 2."""
    return -0.5 * self.beta(t)

  def diffusion2(self, t: Array) -> Array:
    """Returns beta."""
    return self.beta(t)

  def logsnr(self, t: Array) -> Array:
    """Returns -log(exp(B) - 1)."""
    integral = self.integral(t)
    return -integral - jnp.log(-jnp.expm1(-integral))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Solves the quadratic B(t) = log(1 + exp(-lambda)), stably."""
    return self._time_of_integral(jax.nn.softplus(-base.as_time(logsnr)))

  def prior_std(self) -> float:
    """Returns 1: data of unit variance stay so."""
    return 1.0

  def _time_of_integral(self, integral: Array) -> Array:
    slope = self.beta_max - self.beta_min
    root = jnp.sqrt(self.beta_min**2 + 2 * slope * integral)
    return 2 * integral / (root + self.beta_min)  # no cancellation at t -> 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubVP(VP):
  """Sub-variance preserving with beta linear in time (2)."""

  def sigma(self, t: Array) -> Array:
    """Returns 1 - exp(-B)."""
    return -jnp.expm1(-self.integral(t))

  def diffusion2(self, t: Array) -> Array:
    """Returns beta (1 - exp(-2 B))."""
    return -self.beta(t) * jnp.expm1(-2 * self.integral(t))

  def logsnr(self, t: Array) -> Array:
    """Returns -B - 2 log(1 - exp(-B))."""
    integral = self.integral(t)
    return -integral - 2 * jnp.log(-jnp.expm1(-integral))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Solves alpha / sigma = 1 / (2 sinh(B / 2)) = exp(lambda / 2)."""
    half = jnp.arcsinh(0.5 * jnp.exp(-0.5 * base.as_time(logsnr)))
    return self._time_of_integral(2 * half)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(base.Process):
  """The cosine schedule (3); alpha(t_max) is just above 1e-3."""

  t_min: float = 1e-4
  t_max: float = 0.999

  def alpha(self, t: Array) -> Array:
    """Returns cos(pi t / 2)."""
    return jnp.cos(0.5 * math.pi * base.as_time(t))

  def sigma(self, t: Array) -> Array:
    """Returns sin(pi t / 2)."""
    return jnp.sin(0.5 * math.pi * base.as_time(t))

  def drift(self, t: Array) -> Array:
    """Returns -(pi / 2) tan(pi t / 2)."""
    return -0.5 * math.pi * jnp.tan(0.5 * math.pi * base.as_time(t))

  def diffusion2(self, t: Array) -> Array:
    """Returns pi tan(pi t / 2)."""
    return math.pi * jnp.tan(0.5 * math.pi * base.as_time(t))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Returns (2 / pi) arctan(exp(-lambda / 2))."""
    ratio = jnp.exp(-0.5 * base.as_time(logsnr))
    return jnp.arctan(ratio) * (2 / math.pi)

  def prior_std(self) -> float:
    """Returns 1: data of unit variance stay so."""
    return 1.0
