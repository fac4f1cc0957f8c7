r"""Single-step solvers of the probability-flow ODE dx / dt = v(x, t).

With h = s - t < 0,

  Euler     x_s = x_t + h v(x_t, t),                                      (1)
  Heun      u = x_t + a h v(x_t, t),
            x_s = x_t + h ((1 - 1/(2a)) v(x_t, t) + 1/(2a) v(u, t + a h)), (2)
  midpoint  u = x_t + (m - t) v(x_t, t),   x_s = x_t + h v(u, m),         (3)
            m^(1/rho) = (t^(1/rho) + s^(1/rho)) / 2.

On the EDM process t is the noise level and (2) is algorithm 3 of Karras et al.
2022: Heun's rule at a = 1, as in their algorithm 1, the midpoint rule at 1/2,
Ralston's at 2/3. On rectified flow (1) and (2) are its Euler and Heun. (3) at
rho = 3 is the "dpm" of consistency models, once k-diffusion's DPM2.
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
  """Heun's method in time, and its kin; of order 2 (2).

  Attributes:
    alpha: a in (2), where in the step the second slope is taken.
  """

  alpha: float = 1.0

  def __post_init__(self) -> None:
    if not 0 < self.alpha <= 1:
      raise ValueError(f'Heun: alpha must be in (0, 1], not {self.alpha}')

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
    h, middle = s - t, t + self.alpha * (s - t)
    v = prediction.velocity(denoiser(x, t), process, t)
    u = x + self.alpha * h * v
    v_u = prediction.velocity(denoiser(u, middle), process, middle)
    share = 0.5 / self.alpha
    return x + h * ((1 - share) * v + share * v_u), state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Midpoint(solver.Memoryless):
  """The midpoint method in time, of order 2 (3).

  Attributes:
    rho: the middle is that of the rho-th roots; 1 is the plain middle.
  """

  rho: float = 1.0

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
    """Takes x from t to s (3)."""
    del noise
    root = 1 / self.rho
    m = (0.5 * (t**root + s**root)) ** self.rho
    u = x + (m - t) * prediction.velocity(denoiser(x, t), process, t)
    v_u = prediction.velocity(denoiser(u, m), process, m)
    return x + (s - t) * v_u, state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoise(solver.Memoryless):
  """The denoiser's x_0, wherever it was to go: the usual last step."""

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
    """Returns x_0."""
    del process, s, noise
    return denoiser(x, t).x0, state
