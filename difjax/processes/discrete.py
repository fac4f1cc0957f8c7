r"""Processes that are stated as a table of noise levels.

Level i = 0 .. N-1 sits at time t = (i + 1) / N, so that data are at t = 0 as
everywhere. Between the levels lambda = 2 log(alpha / sigma) is linear in t: a
tabulated process is continuous, every solver runs on it, and at its levels it
is the table, to rounding.

With betas b_i, the levels of Ho et al. 2020 are

  alpha_i^2 = prod_{j <= i} (1 - b_j),   sigma_i^2 = 1 - alpha_i^2,       (1)

with b linear, or (Nichol & Dhariwal 2021, equation 17) from the cosine

  b_i = min(1 - h(i + 1) / h(i), b_max),
  h(i) = cos^2((i / N + s) / (1 + s) pi / 2).                             (2)

The ladder of Song & Ermon 2019 is alpha = 1 and sigma geometric in i.   (3)
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from difjax.processes import base
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tabulated(base.Process):
  """A process of N levels; subclasses give `logsnr_table`.

  Attributes:
    levels: the number N of levels.
  """

  levels: int = 1000
  t_min: float = 0.0  # 0 stands for the first level, 1 / N
  t_max: float = 1.0

  def __post_init__(self) -> None:
    if self.levels < 2:
      raise ValueError(f'levels must be at least 2, not {self.levels}')
    if not self.t_min:
      object.__setattr__(self, 't_min', 1 / self.levels)
    super().__post_init__()

  def logsnr_table(self) -> np.ndarray:
    """Returns lambda [N] of the levels, float64, decreasing."""
    raise NotImplementedError

  def time(self, index: Array) -> Array:
    """Returns the time of a level's index."""
    return (base.as_time(index) + 1) / self.levels

  def index(self, t: Array) -> Array:
    """Returns the index of the level nearest to t."""
    nearest = jnp.round(base.as_time(t) * self.levels).astype(jnp.int32) - 1
    return jnp.clip(nearest, 0, self.levels - 1)

  def logsnr(self, t: Array) -> Array:
    """Interpolates the table."""
    t = base.as_time(t)
    table = self.logsnr_table()
    place = t * self.levels - 1
    below = jnp.clip(jnp.floor(place), 0, self.levels - 2)
    i = jax.lax.stop_gradient(below).astype(jnp.int32)
    steps = jnp.asarray(np.diff(table), t.dtype)  # exact in float32 too
    return jnp.asarray(table, t.dtype)[i] + (place - below) * steps[i]

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Interpolates the table the other way."""
    logsnr = base.as_time(logsnr)
    table = jnp.asarray(self.logsnr_table()[::-1], logsnr.dtype)
    times = jnp.arange(self.levels, 0, -1).astype(logsnr.dtype) / self.levels
    return jnp.interp(logsnr, table, times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Betas(Tabulated):
  """A variance-preserving table from betas (1); subclasses give `betas`."""

  def betas(self) -> np.ndarray:
    """Returns the betas [N], float64."""
    raise NotImplementedError

  @functools.lru_cache(maxsize=32)  # noqa: B019, bounded, and self is frozen
  def logsnr_table(self) -> np.ndarray:
    """Returns log(alpha^2 / (1 - alpha^2)) of the cumulative products."""
    log_alpha2 = np.cumsum(np.log1p(-self.betas()))
    return log_alpha2 - np.log(-np.expm1(log_alpha2))

  def alpha(self, t: Array) -> Array:
    """Returns sqrt(sigmoid(lambda))."""
    return jnp.sqrt(jax.nn.sigmoid(self.logsnr(t)))

  def sigma(self, t: Array) -> Array:
    """Returns sqrt(sigmoid(-lambda))."""
    return jnp.sqrt(jax.nn.sigmoid(-self.logsnr(t)))

  def drift(self, t: Array) -> Array:
    """Returns lambda' sigmoid(-lambda) / 2, without cancellation."""
    slope = base.derivative(self.logsnr, t)
    return 0.5 * slope * jax.nn.sigmoid(-self.logsnr(t))

  def prior_std(self) -> float:
    """Returns 1: data of unit variance stay so."""
    return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearBetas(Betas):
  """DDPM's levels: betas linear in the index (Ho et al. 2020, section 4).

  Attributes:
    beta_min: the first beta.
    beta_max: the last beta.
  """

  beta_min: float = 1e-4
  beta_max: float = 0.02

  def betas(self) -> np.ndarray:
    """Returns the betas [N]."""
    return np.linspace(self.beta_min, self.beta_max, self.levels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineBetas(Betas):
  """Improved DDPM's levels (2).

  Attributes:
    offset: s, which keeps the first betas from vanishing.
    beta_max: the cap on the last betas.
  """

  offset: float = 0.008
  beta_max: float = 0.999

  def betas(self) -> np.ndarray:
    """Returns the betas [N]."""
    ends = np.arange(self.levels + 1) / self.levels
    h = np.cos((ends + self.offset) / (1 + self.offset) * np.pi / 2) ** 2
    return np.minimum(1 - h[1:] / h[:-1], self.beta_max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder(Tabulated):
  """NCSN's levels: alpha = 1, sigma geometric (3).

  Attributes:
    sigma_min: the lowest level, for data in [-1, 1].
    sigma_max: the highest level.
  """

  sigma_min: float = 0.02
  sigma_max: float = 100.0

  @functools.lru_cache(maxsize=32)  # noqa: B019, bounded, and self is frozen
  def logsnr_table(self) -> np.ndarray:
    """Returns -2 log(sigma)."""
    ends = np.log([self.sigma_min, self.sigma_max])
    return -2 * np.linspace(*ends, self.levels)

  def alpha(self, t: Array) -> Array:
    """Returns 1."""
    return jnp.ones_like(base.as_time(t))

  def sigma(self, t: Array) -> Array:
    """Returns exp(-lambda / 2)."""
    return jnp.exp(-0.5 * self.logsnr(t))
