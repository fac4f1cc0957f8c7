r"""DPM-Solver-fast: as many steps of order 3 as a number of evaluations allows.

The grid is uniform in log-SNR. Of n = 3 m + r evaluations, r = 1 or 2, m steps
are of order 3 and the last one of order r; where r = 0, m - 1 are of order 3,
and the last two of orders 2 and 1. With noise every step is ancestral, and goes
down no further than the grid. Sources: Lu et al. 2022, DPM-Solver, section 3.4;
with noise, Katherine Crowson's k-diffusion.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import ancestral, dpm_solver, grids, samplers
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMFast:
  """Samples by DPM-Solver with a number of evaluations.

  Attributes:
    evaluations: n, the last one to the data included.
    eta: how much of the posterior's noise is drawn.
    noise_scale: a factor on what is drawn.
    t_min: where the grid ends; None: where the process does.
    denoise: end with the denoiser's x_0.
  """

  evaluations: int
  eta: float = 0.0
  noise_scale: float = 1.0
  t_min: float | None = None
  denoise: bool = True

  def __post_init__(self) -> None:
    if self.evaluations <= int(self.denoise):
      raise ValueError(f'DPMFast: too few evaluations: {self.evaluations}')

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took."""
    full, rest = divmod(self.evaluations - int(self.denoise), 3)
    full, ends = (full, (rest,)) if rest else (full - 1, (2, 1))
    grid = grids.LogSNR(steps=full + len(ends) + 1, t_min=self.t_min)
    times = grid(process)
    lowest = float(np.exp(-0.5 * grids.logsnr(process, times[-1:])[0]))
    x = samplers.sample(
      denoiser, process, self._rule(3, lowest), x, times[: full + 1], noise,
      denoise=False,
    )  # fmt: skip
    steps = jnp.asarray(times, x.dtype)
    for i, order in enumerate(ends, full):
      rule, now = self._rule(order, lowest), noise.at(i)
      x, _ = rule.step(denoiser, process, (), x, steps[i], steps[i + 1], now)
    if self.denoise:
      x = denoiser(x, steps[-1]).x0
    return x, jnp.full(x.shape[:1], self.evaluations)

  def _rule(self, order: int, lowest: float) -> solvers.Solver:
    orders = (
      dpm_solver.DPMSolver1(), dpm_solver.DPMSolver2(), dpm_solver.DPMSolver3(),
    )  # fmt: skip
    return ancestral.Ancestral(
      solver=orders[order - 1], eta=self.eta, noise_scale=self.noise_scale,
      floor=lowest,
    )  # fmt: skip
