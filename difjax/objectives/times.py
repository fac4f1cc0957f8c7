r"""Which times a loss is averaged over.

A time sampler is the quantile function of its density p(t): t = Q(u) with u
uniform on (0, 1). Hence each of them can be stratified,

  u_i = (u_0 + i / B) mod 1,                                              (1)

which spreads a batch's times evenly and lowers the variance of its loss
(Kingma et al. 2021, appendix I.1).

With densities other than the uniform one, most recipes leave the loss as it is
(the density is then a part of the weighting); importance sampling divides by p
instead, so that only the variance changes. The density that minimises it for
the likelihood weighting g^2 is p ~ g^2 / sigma^2 = -dlambda/dt, which is lambda
uniform (Song et al. 2021, Maximum Likelihood Training, section 5.2).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from difjax.processes import base
from difjax.typing import Array, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Times:
  """A density of times, by its quantiles.

  Attributes:
    stratified: spread each batch evenly (1).
  """

  stratified: bool = False

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns Q(u) in the shape of u."""
    raise NotImplementedError

  def part(self, process: base.Process, t: Array, parts: int) -> Array:
    """Returns which of so many equally likely parts times [B] are in.

    They are counted from 0, from the least times and so the least noise.
    """
    ends = self.quantile(process, jnp.arange(1, parts) / parts)
    return jnp.sum(t[:, None] >= ends, axis=-1)

  def importance(self, process: base.Process, t: Array) -> Array:
    """Returns the factor on the loss, 1 unless p is to be divided out."""
    del process
    return jnp.ones_like(t)

  def draw(
    self, process: base.Process, key: Key, n: int
  ) -> tuple[Array, Array]:
    """Draws times [n] and their factors on the loss [n]."""
    if self.stratified:
      u = (jax.random.uniform(key) + jnp.arange(n) / n) % 1
    else:
      u = jax.random.uniform(key, (n,))
    t = self.quantile(process, u)
    return t, self.importance(process, t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniformTimes(Times):
  """Uniform on [t_min, t_max]."""

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns t_min + u (t_max - t_min)."""
    return process.t_min + u * (process.t_max - process.t_min)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelTimes(Times):
  """Uniform over the levels of a tabulated process."""

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns the time of level floor(u N)."""
    return process.time(jnp.floor(u * process.levels))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogNormalTimes(Times):
  """log(sigma / alpha) normal (Karras et al. 2022, table 1).

  Attributes:
    mean: of log(sigma / alpha).
    std: of log(sigma / alpha).
  """

  mean: float = -1.2
  std: float = 1.2

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns the t of log(sigma / alpha) = mean + std z(u)."""
    return process.time_of_logsnr(-2 * (self.mean + self.std * _normal(u)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitNormalTimes(Times):
  """logit(t) normal (Esser et al. 2024, section 3.1), for t in (0, 1).

  Attributes:
    mean: of logit(t).
    std: of logit(t).
  """

  mean: float = 0.0
  std: float = 1.0

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns sigmoid(mean + std z(u)), kept within the process."""
    t = jax.nn.sigmoid(self.mean + self.std * _normal(u))
    return jnp.clip(t, process.t_min, process.t_max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LikelihoodImportanceTimes(Times):
  """lambda uniform, divided out again: for the likelihood weighting."""

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns the t of a uniform lambda."""
    ends = jnp.asarray([process.t_min, process.t_max], u.dtype)
    first, last = process.logsnr(ends)
    return process.time_of_logsnr(first + u * (last - first))

  def importance(self, process: base.Process, t: Array) -> Array:
    """Returns 1 / (p(t) (t_max - t_min)), p = -lambda' / range."""
    ends = jnp.asarray([process.t_min, process.t_max], t.dtype)
    first, last = process.logsnr(ends)
    slope = base.derivative(process.logsnr, t)
    return (last - first) / (slope * (process.t_max - process.t_min))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EquivalentTimes(Times):
  """Times of another process, carried over to where the noise is the same.

  A network of noise levels is so trained on the levels of VP or VE, as Karras
  et al. 2022 do (table 1).

  Attributes:
    process: the other process.
    times: the density of its times.
  """

  process: base.Process
  times: Times = UniformTimes()

  def quantile(self, process: base.Process, u: Array) -> Array:
    """Returns the t as noisy as Q(u) of the other."""
    other = self.times.quantile(self.process, u)
    return process.time_of_logsnr(self.process.logsnr(other))

  def importance(self, process: base.Process, t: Array) -> Array:
    """Returns the factor that the other has there."""
    other = self.process.time_of_logsnr(process.logsnr(t))
    return self.times.importance(self.process, other)


def _normal(u: Array) -> Array:
  """Returns the standard normal's quantiles, finite at the ends."""
  smallest = jnp.finfo(u.dtype).eps
  return jax.scipy.special.ndtri(jnp.clip(u, smallest, 1 - smallest))
