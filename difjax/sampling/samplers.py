"""Samplers: from the prior to images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import grids
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array, PyTree


def sample(
  denoiser: prediction.Denoiser,
  process: base.Process,
  solver: solvers.Solver | solvers.Planned,
  x: Array,
  grid: np.ndarray,
  noise: noises.Noise,
  *,
  denoise: bool = True,
) -> Array:
  """Runs a solver down a time grid.

  Args:
    denoiser: (x [B, ...], t) -> Prediction.
    process: the process whose reverse is run.
    solver: the rule of a step.
    x: [B, ...] at time grid[0], usually from the prior.
    grid: [N] decreasing times.
    noise: the draws of stochastic solvers.
    denoise: end with the denoiser's x_0 at grid[-1], one evaluation more.

  Returns:
    [B, ...], the samples, or x at grid[-1] without `denoise`.
  """
  states = _scan(denoiser, process, solver, x, grid, noise, keep=False)
  return denoiser(states[0], grid[-1]).x0 if denoise else states[0]


def trajectory(
  denoiser: prediction.Denoiser,
  process: base.Process,
  solver: solvers.Solver | solvers.Planned,
  x: Array,
  grid: np.ndarray,
  noise: noises.Noise,
) -> Array:
  """Returns x [N, B, ...] at every time of a grid; see `sample`."""
  _, later = _scan(denoiser, process, solver, x, grid, noise, keep=True)
  return jnp.concatenate([x[None], later])


def _scan(
  denoiser: prediction.Denoiser,
  process: base.Process,
  solver: solvers.Solver | solvers.Planned,
  x: Array,
  grid: np.ndarray,
  noise: noises.Noise,
  *,
  keep: bool,
) -> tuple[Array, Array | None]:
  """Returns x at the last time, and if asked x at all times but the first."""

  def step(carry: tuple[Array, PyTree], now: tuple[Array, Array, Array]):
    x, state = carry
    i, t, s = now
    x, state = solver.step(denoiser, process, state, x, t, s, noise.at(i))
    return (x, state), (x if keep else None)

  if len(grid) == 1:
    return x, x[None][:0]
  solver = solvers.on_grid(solver, process, grid)
  times = jnp.asarray(grid, x.dtype)
  steps = (jnp.arange(len(grid) - 1), times[:-1], times[1:])
  (x, _), later = jax.lax.scan(step, (x, solver.init(x)), steps)
  return x, later


class Sampler(Protocol):
  """A way to sample, as one value: what a config describes."""

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedGrid:
  """A solver on a grid.

  Attributes:
    solver: the rule of a step.
    grid: the times.
    denoise: end with the denoiser's x_0, which is the grid's last step.
    last: the rule of a last step to the data at t = 0, in place of that.
  """

  solver: solvers.Solver | solvers.Planned
  grid: grids.Grid
  denoise: bool = True
  last: solvers.Solver | solvers.Planned | None = None

  def __post_init__(self) -> None:
    if self.last is not None:
      solvers.require_memoryless(self.last, self)

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took."""
    times = self.grid(process)
    total = (len(times) - 1) * self.solver.evaluations
    if self.last is None:
      out = sample(
        denoiser, process, self.solver, x, times, noise, denoise=self.denoise
      )
      return out, jnp.full(x.shape[:1], total + int(self.denoise))
    x = sample(denoiser, process, self.solver, x, times, noise, denoise=False)
    last = solvers.on_grid(self.last, process, times)
    start, data = jnp.asarray(times[-1], x.dtype), jnp.zeros((), x.dtype)
    x, _ = last.step(
      denoiser, process, last.init(x), x, start, data,
      noise.at(len(times) - 1),
    )  # fmt: skip
    return x, jnp.full(x.shape[:1], total + last.evaluations)


def counted(
  denoiser: prediction.Denoiser, count: Callable[[], None]
) -> prediction.Denoiser:
  """Calls `count` on the host at every evaluation: for tests and audits."""

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    jax.debug.callback(count)
    return denoiser(x, t)

  return denoise
