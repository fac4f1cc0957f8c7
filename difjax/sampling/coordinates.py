r"""A denoiser of one process on another: any process in any coordinates.

All processes are one in the coordinates

  y = x / alpha,   rho = sigma / alpha,   y = x_0 + rho eps,              (1)

so what a network learnt on one of them holds on every other, at the time of
equal rho. A rule stated in the noise level, such as Heun's in sigma, then runs
on any process: where diffusers and k-diffusion sample networks of a
variance-preserving table with "sigmas", this is what they do. And the schedule
sigma(t) and the scaling s(t) of EDM's ablations are a process to sample on,
whatever that of the network is. A rule that sees the process through (1) alone,
such as DDIM or DPM-Solver, gives the same on all of them. Source: Karras et al.
2022, section 3 and algorithm 3.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base, ve
from difjax.sampling import grids, samplers
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array, PyTree


def carried(
  denoiser: prediction.Denoiser, process: base.Process, other: base.Process
) -> prediction.Denoiser:
  """Returns a process's denoiser as one of another process."""

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    same = process.time_of_logsnr(other.logsnr(t))
    scale = process.alpha(same) / other.alpha(t)
    return denoiser(base.expand(scale, x) * x, same)

  return denoise


@dataclasses.dataclass(frozen=True, kw_only=True)
class InSigma:
  """A solver whose image is x / alpha and whose time is sigma / alpha (1).

  Attributes:
    solver: the rule of a step.
  """

  solver: solvers.Solver | solvers.Planned

  @property
  def evaluations(self) -> int:
    """Those of the solver."""
    return self.solver.evaluations

  @property
  def remembers(self) -> bool:
    """As the solver does."""
    return self.solver.remembers

  def plan(self, process: base.Process, times: np.ndarray) -> InSigma:
    """Returns the solver of one grid, times [N]."""
    if not hasattr(self.solver, 'plan'):
      return self
    levels = np.exp(-0.5 * grids.logsnr(process, times))
    planned = solvers.on_grid(self.solver, ve.EDM(), levels)
    return dataclasses.replace(self, solver=planned)

  def init(self, x: Array) -> PyTree:
    """Returns the solver's state."""
    return self.solver.init(x)

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
    edm = ve.EDM()
    level = lambda t: jnp.exp(-0.5 * process.logsnr(t))
    y, state = self.solver.step(
      carried(denoiser, process, edm), edm, state, x / process.alpha(t),
      level(t), level(s), noise,
    )  # fmt: skip
    return process.alpha(s) * y, state


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnProcess:
  """A sampler that runs on a process of its own.

  Attributes:
    process: where it runs; its noisiest time is that of the grid.
    sampler: the sampler, which ends with data.
  """

  process: base.Process
  sampler: samplers.Sampler

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took."""
    start = jnp.asarray(process.t_max, x.dtype)
    same = self.process.time_of_logsnr(process.logsnr(start))
    scale = self.process.alpha(same) / process.alpha(start)
    there = carried(denoiser, process, self.process)
    return self.sampler(there, self.process, scale * x, noise)
