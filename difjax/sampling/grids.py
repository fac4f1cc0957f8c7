r"""Time grids: the times at which a solver stops, from t_max down to t_min.

A grid of N steps has N times, t_0 > ... > t_{N-1}: N - 1 steps of the solver,
and a last one from t_{N-1} to the data, which is the denoiser's x_0. That is
what DDPM's last level, DDIM's last step and EDM's appended zero all are.

With u_i = i / (N - 1):

  uniform    t = t_max + u (t_min - t_max)                                (1)
  quadratic  t = (sqrt(t_max) + u (sqrt(t_min) - sqrt(t_max)))^2          (2)
  log-SNR    lambda = lambda_max + u (lambda_min - lambda_max)            (3)
  Karras     rho-th power of a uniform grid in (sigma / alpha)^(1 / rho)  (4)

Sources: (2) Song, Meng & Ermon 2021, appendix D.2; (3) Lu et al. 2022,
DPM-Solver, section 3.4; (4) Karras et al. 2022, equation 5. Grids are made in
float64 on the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import numpy as np

from difjax.processes import base
from difjax.typing import Array


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
class LogSNR(_Steps):
  """Uniform in log-SNR (3)."""

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    ends = _logsnr(process, self._ends(process))
    return _times(process, self._between(*ends))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Karras(_Steps):
  """EDM's grid (4): uniform in the rho-th root of sigma / alpha.

  Attributes:
    rho: 7 puts many steps at low noise, 1 none.
    sigma_min: lowest sigma / alpha, that at t_min when None.
    sigma_max: highest sigma / alpha, that at t_max when None.
  """

  rho: float = 7.0
  sigma_min: float | None = None
  sigma_max: float | None = None

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    ends = np.exp(-0.5 * _logsnr(process, self._ends(process)))
    start = ends[0] if self.sigma_max is None else self.sigma_max
    stop = ends[1] if self.sigma_min is None else self.sigma_min
    roots = self._between(start ** (1 / self.rho), stop ** (1 / self.rho))
    return _times(process, -2 * self.rho * np.log(roots))


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
class Levels(_Steps):
  """Evenly spaced levels of a tabulated process, first and last included.

  `steps` equal to the process's levels gives DDPM's own 1,000 steps.
  """

  def __call__(self, process: base.Process) -> np.ndarray:
    """Returns the times [N]."""
    index = np.round(self._between(process.levels - 1, 0))
    return (index + 1) / process.levels


def _logsnr(process: base.Process, times: Sequence[float]) -> np.ndarray:
  return _on_host(process.logsnr, np.asarray(times, np.float64))


def _times(process: base.Process, logsnr: np.ndarray) -> np.ndarray:
  return _on_host(process.time_of_logsnr, logsnr)


def _on_host(
  function: Callable[[Array], Array], values: np.ndarray
) -> np.ndarray:
  """Evaluates in float64 on the CPU, also while jax traces a sampler."""
  cpu = jax.local_devices(backend='cpu')[0]
  with (
    jax.ensure_compile_time_eval(),
    jax.enable_x64(True),
    jax.default_device(cpu),
  ):
    return np.asarray(function(values))
