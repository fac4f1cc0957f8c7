r"""Churn: noise before every step of a solver, EDM's stochastic sampler.

With rho = sigma / alpha and N steps, an image at t is noised up to t', from
where the solver goes on to s,

  rho' = (1 + g) rho,   x' = a x + S_noise b z,   the forward transition, (1)
  g = min(S_churn / N, sqrt(2) - 1)   where S_min <= rho <= S_max, or 0.

Noise is drawn at every step, though it counts for nothing where g = 0. With
Heun's rule on the EDM process this is algorithm 2 of Karras et al. 2022, with
any process and rule the stochastic sampler of their ablations. The last step,
to the data, is churned if it is told to be:
`FixedGrid(solver=Churned(...), last=Churned(solver=Denoise(), ...))`.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base, discrete
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array, PyTree

_MOST = math.sqrt(2) - 1  # no more new noise than there is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Churned(solvers.Around):
  """A solver whose steps begin with noise (1), which is drawn from slot 0.

  Attributes:
    solver: the rule of a step from t' to s.
    churn: S_churn, the amount of noise over all steps.
    low: S_min, the least sigma / alpha at which there is noise.
    high: S_max, the greatest.
    noise_scale: S_noise, a factor on what is drawn; other than 1 it is a bias
      by design.
    levels: a table whose nearest level rho' is rounded to, for networks that
      know no others.
    growth: g, where it does not come from `churn` and the length of the grid.
  """

  churn: float = 0.0
  low: float = 0.0
  high: float = math.inf
  noise_scale: float = 1.0
  levels: discrete.Tabulated | None = None
  growth: float | None = None

  def plan(self, process: base.Process, times: np.ndarray) -> Churned:
    """Returns the solver of a grid of N times."""
    planned = super().plan(process, times)
    if self.growth is not None:
      return planned
    growth = min(self.churn / len(times), _MOST)
    return dataclasses.replace(planned, growth=growth)

  def step(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    state: PyTree,
    x: Array,
    t: Array,
    s: Array,
    noise: noises.Noise,
  ) -> tuple[Array, PyTree]:
    """Takes x from t up to t', and from there to s (1)."""
    x, t = self._up(process, x, t, noise.normal(0, x))
    later = noises.Later(noise, 1)
    return self.solver.step(denoiser, process, state, x, t, s, later)

  def _up(
    self, process: base.Process, x: Array, t: Array, z: Array
  ) -> tuple[Array, Array]:
    """Returns x' and t' (1), drawing z."""
    level = process.sigma(t) / process.alpha(t)
    # Where alpha is 0 there is nothing but noise, and no more to be had.
    grows = (self.low <= level) & (level <= self.high) & jnp.isfinite(level)
    above = process.logsnr(t) - 2 * jnp.log1p(self.growth)
    if self.levels is not None:
      above = self._rounded(above)
    later = jnp.where(grows, process.time_of_logsnr(above), t)
    a, b2 = process.transition(later, t)
    b = jnp.sqrt(jnp.where(grows, jnp.maximum(b2, 0), 0))
    x = jnp.where(grows, a, 1) * x + self.noise_scale * b * z
    return x, later

  def _rounded(self, logsnr: Array) -> Array:
    """Returns the log-SNR of the level with the nearest sigma / alpha."""
    table = jnp.asarray(self.levels.logsnr_table(), logsnr.dtype)
    away = jnp.exp(-0.5 * table) - jnp.exp(-0.5 * logsnr)
    return table[jnp.argmin(jnp.abs(away))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusersChurned(Churned):
  """Churn as diffusers ships it: the denoiser sees x before the noise.

  Its eps stands for that at t', which leaves rules of one evaluation, and only
  those, at weak order 1.
  """

  def step(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    state: PyTree,
    x: Array,
    t: Array,
    s: Array,
    noise: noises.Noise,
  ) -> tuple[Array, PyTree]:
    """Takes x from t up to t', and from there to s by eps at t."""
    eps = denoiser(x, t).eps

    def blind(x: Array, t: Array) -> prediction.Prediction:
      x0 = (x - process.sigma(t) * eps) / process.alpha(t)
      return prediction.Prediction(x0, eps)

    x, t = self._up(process, x, t, noise.normal(0, x))
    later = noises.Later(noise, 1)
    return self.solver.step(blind, process, state, x, t, s, later)
