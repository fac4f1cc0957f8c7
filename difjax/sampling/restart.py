r"""Restart sampling: parts of the way down again and again, with noise between.

A solver goes down a grid. Where that reaches the lower end of an interval, the
image is noised up to the upper end by the forward transition,

  x_high = a x_low + b z,                                                 (1)

and the solver goes down a grid of the interval's own, so many times. New noise
contracts what error has gathered, without the error of an SDE's small steps.
Source: Xu et al. 2023, Restart Sampling for Improving Generative Processes,
algorithm 1. The intervals' grids are Karras's, as in its code; a grid of n
times is n - 1 steps, so an interval costs `repeats (times - 1)` steps.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import grids
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """What is sampled again.

  Attributes:
    low: lower end in sigma / alpha; the grid's nearest time stands for it.
    high: upper end in sigma / alpha.
    times: of the interval's grid, both ends included: n_Restart.
    repeats: how often: K.
    rho: of the interval's grid.
  """

  low: float
  high: float
  times: int
  repeats: int = 1
  rho: float = 7.0

  def __post_init__(self) -> None:
    if not 0 < self.low < self.high:
      raise ValueError(f'needs 0 < low < high, not {self.low}, {self.high}')
    if self.times < 2:
      raise ValueError(f'an interval has at least 2 times, not {self.times}')

  def route(
    self, process: base.Process, low: float
  ) -> list[tuple[float, float, float]]:
    """Returns (where x is, t, s) of every step, up from `low` and back."""
    times = grids.Karras(
      steps=self.times, sigma_min=low, sigma_max=self.high, rho=self.rho
    )(process)
    starts = np.append(times[-1], times[1:-1])  # the first step is a restart
    return [*zip(starts, times[:-1], times[1:], strict=True)] * self.repeats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restart:
  """A solver on a grid with intervals that are sampled again.

  Attributes:
    solver: the rule of a step.
    grid: the times.
    intervals: what is sampled again.
    noise_scale: a factor on what is drawn, S_noise.
    denoise: end with the denoiser's x_0, one evaluation more.
  """

  solver: solvers.Solver | solvers.Planned
  grid: grids.Grid
  intervals: tuple[Interval, ...]
  noise_scale: float = 1.0
  denoise: bool = True

  def __post_init__(self) -> None:
    solvers.require_memoryless(self.solver, self)

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took.

    The k-th restart draws from slot 0 of step k, and the solver's k-th step
    from the slots above it.
    """
    route = self.route(process)
    steps = np.arange(len(route))
    restarts = np.maximum(np.cumsum(route[:, 0] < route[:, 1]) - 1, 0)
    solver = solvers.on_grid(self.solver, process, self.grid(process))

    def step(
      x: Array, now: tuple[Array, Array, Array]
    ) -> tuple[Array, None]:
      i, restart, (low, t, s) = now
      z = self.noise_scale * noise.at(restart).normal(0, x)
      x = process.renoise(x, low, t, z)
      later = noises.Later(noise.at(i), 1)
      return solver.step(denoiser, process, (), x, t, s, later)[0], None

    rows = steps, restarts, jnp.asarray(route, x.dtype)
    x, _ = jax.lax.scan(step, x, rows)
    if self.denoise:
      x = denoiser(x, jnp.asarray(route[-1, -1], x.dtype)).x0
    total = len(route) * self.solver.evaluations + int(self.denoise)
    return x, jnp.full(x.shape[:1], total)

  def route(self, process: base.Process) -> np.ndarray:
    """Returns (where x is, t, s) of every step [steps, 3]."""
    times = self.grid(process)
    levels = np.exp(-0.5 * grids.logsnr(process, times))
    ends = [np.argmin(np.abs(levels - part.low)) for part in self.intervals]
    steps = []
    for i, time in enumerate(times):
      if i:
        steps.append((times[i - 1], times[i - 1], time))
      for part, end in zip(self.intervals, ends, strict=True):
        if end == i:
          steps += part.route(process, levels[i])
    return np.asarray(steps)
