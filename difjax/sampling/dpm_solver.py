r"""DPM-Solver and DPM-Solver++ in single steps.

In l = log(alpha / sigma), half the log-SNR, the probability-flow ODE is linear
but for the denoiser. With h = l_s - l_t > 0 and f at a fraction u of the step,

  x_s = a x_t - b integral_0^1 k e^{k (1 - u)} f(u) du                    (1)

exactly, either for f = eps, a = alpha_s / alpha_t, b = sigma_s, k = h, or for
f = x_0, a = sigma_s / sigma_t, b = alpha_s, k = -h: DPM-Solver and
DPM-Solver++. A constant, a line and a parabola integrate to

  psi_0 = e^k - 1,   psi_1 = psi_0 / k - 1,   psi_2 = 2 psi_1 / k - 1,    (2)

and with f_r seen at the fraction r, where the rule of one order less leads,

  order 1  b psi_0 f_0,                                                   (3)
  order 2  b psi_0 (f_0 + (f_r - f_0) / (2 r)),                           (4)
  order 3  b (psi_0 f_0 + psi_1 (f_r - f_0) / r),   r = 2/3,              (5)

where (5) reaches 2/3 by a line through f at 0 and 1/3. Of order 1 both forms
are DDIM. At r = 1/2, (4) for eps is k-diffusion's DPM2 and for x_0 is
DPM-Solver++ 2S. Sources: Lu et al. 2022, DPM-Solver, algorithms 1 and 2; Lu et
al. 2022, DPM-Solver++, algorithm 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver
from difjax.typing import Array, PyTree

_SMALL = 1e-3  # below it psi_1 and psi_2 are the first terms of their series


def psi(k: Array) -> tuple[Array, Array, Array]:
  """Returns the integrals (2), at k = 0 too."""
  near = jnp.abs(k) < _SMALL
  safe = jnp.where(near, 1, k)
  psi_0 = jnp.expm1(k)
  series = k / 2 * (1 + k / 3 * (1 + k / 4 * (1 + k / 5)))
  psi_1 = jnp.where(near, series, psi_0 / safe - 1)
  series = k / 3 * (1 + k / 4 * (1 + k / 5))
  psi_2 = jnp.where(near, series, 2 * psi_1 / safe - 1)
  return psi_0, psi_1, psi_2


def frame(
  process: base.Process, t: Array, s: Array, *, data: bool
) -> tuple[Array, Array, Array]:
  """Returns a, b and k of a step from t to s (1), for eps or for x_0."""
  h = 0.5 * (process.logsnr(s) - process.logsnr(t))
  if data:
    return process.sigma(s) / process.sigma(t), process.alpha(s), -h
  return process.alpha(s) / process.alpha(t), process.sigma(s), h


def between(process: base.Process, t: Array, s: Array, r: float) -> Array:
  """Returns the time at a fraction r of the way from t to s in log-SNR."""
  start, stop = process.logsnr(t), process.logsnr(s)
  return process.time_of_logsnr(start + r * (stop - start))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolver1(solver.Memoryless):
  """DPM-Solver-1 (3), of order 1.

  Attributes:
    data: f is x_0, not eps.
  """

  data: bool = False

  @property
  def fractions(self) -> tuple[float, ...]:
    """Where in a step the denoiser is asked, after its start."""
    return ()

  @property
  def evaluations(self) -> int:
    """One more than the fractions."""
    return 1 + len(self.fractions)

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
    """Takes x from t to s."""
    del noise
    values = self.values(denoiser, process, x, t, s)
    return self.reach(process, x, t, s, values), state

  def values(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
  ) -> list[Array]:
    """Returns f [B, ...] at the start and at the fractions."""
    seen = [self._f(denoiser(x, t))]
    for j, r in enumerate(self.fractions):
      u = between(process, t, s, r)
      slope = (seen[-1] - seen[0]) * (r / self.fractions[j - 1]) if j else 0
      x_u = self._line(process, x, t, u, seen[0], slope)
      seen.append(self._f(denoiser(x_u, u)))
    return seen

  def reach(
    self,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
    values: Sequence[Array],
  ) -> Array:
    """Returns x at s by the values of f; those past this rule are not read."""
    return self._line(process, x, t, s, values[0], 0)

  def _f(self, seen: prediction.Prediction) -> Array:
    return seen.x0 if self.data else seen.eps

  def _line(
    self,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
    start: Array,
    slope: Array,
  ) -> Array:
    """Integrates f = start + u slope exactly (1)."""
    a, b, k = (
      base.expand(v, x) for v in frame(process, t, s, data=self.data)
    )
    psi_0, psi_1, _ = psi(k)
    return a * x - b * (psi_0 * start + psi_1 * slope)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolver2(DPMSolver1):
  """DPM-Solver-2 (4), of order 2; for x_0 DPM-Solver++ 2S.

  Attributes:
    r: the fraction at which the denoiser is asked again.
  """

  r: float = 0.5

  @property
  def fractions(self) -> tuple[float, ...]:
    """Where in a step the denoiser is asked, after its start."""
    return (self.r,)

  def reach(
    self,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
    values: Sequence[Array],
  ) -> Array:
    """Returns x at s by the values of f at 0 and r (4)."""
    level = values[0] + (values[1] - values[0]) / (2 * self.r)
    return self._line(process, x, t, s, level, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolver3(DPMSolver1):
  """DPM-Solver-3 (5), of order 3; for x_0 DPM-Solver++ 3S."""

  @property
  def fractions(self) -> tuple[float, ...]:
    """Where in a step the denoiser is asked, after its start."""
    return 1 / 3, 2 / 3

  def reach(
    self,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
    values: Sequence[Array],
  ) -> Array:
    """Returns x at s by the values of f at 0, 1/3 and 2/3 (5)."""
    slope = (values[2] - values[0]) / self.fractions[1]
    return self._line(process, x, t, s, values[0], slope)
