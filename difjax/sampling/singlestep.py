r"""Single-step solvers of the probability-flow ODE dx / dt = v(x, t).

With h = s - t < 0,

  Euler  x_s = x_t + h v(x_t, t),                                         (1)
  Heun   u = x_t + h v(x_t, t),
         x_s = x_t + h (v(x_t, t) + v(u, s)) / 2.                         (2)

On the EDM process t is the noise level and (2) is algorithm 1 of Karras et al.
2022; on rectified flow (1) and (2) are its Euler and Heun.
"""

from __future__ import annotations

import dataclasses

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver
from difjax.typing import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Euler(solver.Memoryless):
  """Euler's method in time, of order 1 (1)."""

  @property
  def evaluations(self) -> int:
    """One."""
    return 1

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
    """Takes x from t to s (1)."""
    del noise
    return x + (s - t) * prediction.velocity(denoiser(x, t), process, t), state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heun(solver.Memoryless):
  """Heun's method in time, of order 2 (2)."""

  @property
  def evaluations(self) -> int:
    """Two."""
    return 2

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
    """Takes x from t to s (2)."""
    del noise
    h = s - t
    v = prediction.velocity(denoiser(x, t), process, t)
    u = x + h * v
    v_u = prediction.velocity(denoiser(u, s), process, s)
    return x + 0.5 * h * (v + v_u), state
