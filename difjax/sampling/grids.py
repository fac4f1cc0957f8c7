r"""Time grids: the times at which a solver stops, from t_max down to t_min.

A grid of N steps has N times, t_0 > ... > t_{N-1}: N - 1 steps of the solver,
and a last one from t_{N-1} to the data, which is the denoiser's x_0. That is
what DDPM's last level, DDIM's last step and EDM's appended zero all are.

With u_i = i / (N - 1):

  uniform    t = t_max + u (t_min - t_max)                                (1)
  quadratic  t = (sqrt(t_max) + u (sqrt(t_min) - sqrt(t_max)))^2          (2)
  beta       t = t_min + q(1 - u) (t_max - t_min),                        (3)
             q the quantiles of Beta(a, b)
  log-SNR    lambda = lambda_max + u (lambda_min - lambda_max)            (4)
  Karras     rho-th power of a uniform grid in (sigma / alpha)^(1 / rho)  (5)
  polyexponential  log(sigma / alpha) over its range is (1 - u)^rho       (6)

(4) is the exponential grid, geometric in sigma / alpha. A grid may be made from
another one: `Matched` has the noise levels that it has on another process,
`Picked` some of its times, and a time shift moves them towards the noise,

  t -> k t / (1 + (k - 1) t),   t in units of t_max.                      (7)

EDM's discretisations of older methods are such grids on the EDM process: VP's
is `Matched(process=VP(), grid=Uniform(...))`, VE's is `LogSNR`, and iDDPM's
`Matched(process=CosineBetas(), grid=BoundedLevels(...))`.

Sources: (2) Song, Meng & Ermon 2021, appendix D.2; (3) Lee et al. 2024, Beta
Sampling is All You Need; (4) Lu et al. 2022, DPM-Solver, section 3.4; (5)
Karras et al. 2022, equation 5 and table 1; (6) k-diffusion; (7) Esser et al.
2024, equation 23. Grids are made in float64 on the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import numpy as np

from difjax.processes import base
from difjax.typing import Array

_LEAST = 64  # values that a function is evaluated for at once


class Grid(Protocol):
  """Gives a solver's times."""

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N], float64, decreasing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Steps:
  """A number of steps, the last one to the data included.

  Attributes:
    steps: N.
    t_min: where the grid ends; None: where the process does. Score-SDE
      networks are trained down to 1e-5 but sampled down to 1e-3.
  """

  steps: int
  t_min: float | None = None

  def __post_init__(self) -> None:
    if self.steps < 1:
      raise ValueError(f'steps must be at least 1, not {self.steps}')

  def _ends(self, process: base.Process) -> tuple[float, float]:
    return process.t_max, process.t_min if self.t_min is None else self.t_min

  def _between(self, start: float, stop: float) -> np.ndarray:
    return np.linspace(start, stop, self.steps, dtype=np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform(_Steps):
  """Uniform in time (1)."""

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    return self._between(*self._ends(process))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quadratic(_Steps):
  """Uniform in the root of time (2)."""

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    return self._between(*np.sqrt(self._ends(process))) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beta(_Steps):
  """By the quantiles of a Beta distribution in time (3).

  Attributes:
    a: below 1 it puts times at the noise's end.
    b: below 1 it puts times at the data's end.
  """

  a: float = 0.6
  b: float = 0.6

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    from scipy import special  # late: a tenth of a second

    start, stop = self._ends(process)
    share = special.betaincinv(self.a, self.b, self._between(1.0, 0.0))
    return stop + share * (start - stop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSNR(_Steps):
  """Uniform in log-SNR (4)."""

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    ends = logsnr(process, self._ends(process))
    return times_of(process, self._between(*ends))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sigmas(_Steps):
  """A number of steps between two noise levels.

  Attributes:
    sigma_min: lowest sigma / alpha, that at t_min when None.
    sigma_max: highest sigma / alpha, that at t_max when None.
  """

  sigma_min: float | None = None
  sigma_max: float | None = None

  def _sigmas(self, process: base.Process) -> tuple[float, float]:
    start, stop = np.exp(-0.5 * logsnr(process, self._ends(process)))
    start = start if self.sigma_max is None else self.sigma_max
    return start, stop if self.sigma_min is None else self.sigma_min


@dataclasses.dataclass(frozen=True, kw_only=True)
class Karras(_Sigmas):
  """EDM's grid (5): uniform in the rho-th root of sigma / alpha.

  Attributes:
    rho: 7 puts many steps at low noise, 1 none.
  """

  rho: float = 7.0

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    start, stop = self._sigmas(process)
    roots = self._between(start ** (1 / self.rho), stop ** (1 / self.rho))
    return times_of(process, -2 * self.rho * np.log(roots))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Polyexponential(_Sigmas):
  """A power of a uniform grid in log(sigma / alpha) (6).

  Attributes:
    rho: 1 is uniform in log-SNR, above it more steps are at low noise.
  """

  rho: float = 1.0

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    start, stop = np.log(self._sigmas(process))
    share = self._between(1.0, 0.0) ** self.rho
    return times_of(process, -2 * (stop + share * (start - stop)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Given times, decreasing.

  Attributes:
    times: in the process's unit of time.
  """

  times: tuple[float, ...]

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    return np.asarray(self.times, np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matched:
  """The noise levels sigma / alpha that a grid has on another process.

  Attributes:
    process: the other process.
    grid: its grid.
  """

  process: base.Process
  grid: Grid

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    return times_of(process, logsnr(self.process, self.grid(self.process)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picked:
  """Some times of a grid: the `ts` of multistep consistency sampling.

  Attributes:
    grid: the grid.
    indices: which of its times, increasing.
  """

  grid: Grid
  indices: tuple[int, ...]

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    return self.grid(process)[list(self.indices)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeShift:
  """A grid moved towards the noise (7).

  Attributes:
    grid: the grid.
    factor: k; 3 is that of Stable Diffusion 3.
  """

  grid: Grid
  factor: float

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    share = self.grid(process) / process.t_max
    moved = self.factor * share / (1 + (self.factor - 1) * share)
    return process.t_max * moved


def logsnr(process: base.Process, times: Sequence[float]) -> np.ndarray:
  """Returns lambda of times, in float64 on the host."""
  return on_host(process.logsnr, np.asarray(times, np.float64))


def times_of(process: base.Process, logsnr: np.ndarray) -> np.ndarray:
  """Returns the times of lambda, in float64 on the host."""
  return on_host(process.time_of_logsnr, logsnr)


def on_host(
  function: Callable[[Array], Array], values: np.ndarray
) -> np.ndarray:
  """Evaluates in float64 on the CPU, also while jax traces a sampler.

  Args:
    function: elementwise, of floats.
    values: of any shape.
  """
  values = np.asarray(values, np.float64)
  # Operations are compiled for every length: there are few powers of two.
  length = 1 << max(values.size - 1, _LEAST - 1).bit_length()
  cpu = jax.local_devices(backend='cpu')[0]
  with (
    jax.ensure_compile_time_eval(),
    jax.enable_x64(True),
    jax.default_device(cpu),
  ):
    out = np.asarray(function(np.resize(values, length)))
  return out[: values.size].reshape(values.shape)
