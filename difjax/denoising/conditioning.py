r"""What a network sees of (x, t): c_in x and c_noise.

Every published network was trained on its own scaling of the input and its own
spelling of time. Both are decided here and nowhere else:

| family                  | c_in                        | c_noise             |
|-------------------------|-----------------------------|---------------------|
| VP, sub-VP (continuous) | 1                           | 999 t               |
| DDPM levels             | 1                           | index = N t - 1     |
| VE (sigma doubled)      | 1                           | log(sigma / 2)      |
| EDM                     | 1 / sqrt(alpha^2 d^2 + sigma^2) | log(sigma) / 4  |
| VP at noise level sigma | the same, d = 1             | 999 t of VP         |
| iDDPM at noise level sigma | the same, d = 1          | the nearest index   |
| flow matching           | 1                           | t, or 1000 t        |

sigma in c_noise is the ratio sigma / alpha, that of the process with alpha = 1.
Sources: Song et al. 2021, Karras et al. 2022 (table 1) and their official code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from difjax.processes import base, discrete
from difjax.typing import Array

ScalarMap = Callable[[base.Process, Array], Array]
"""(process, t) -> a number for each t."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unscaled:
  """c = 1."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns ones in the shape of t."""
    return jnp.ones_like(base.as_time(t))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitVariance:
  """c = 1 / sqrt(alpha^2 d^2 + sigma^2), which gives x unit variance.

  Attributes:
    data_std: d, the standard deviation of the data.
  """

  data_std: float = 0.5

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns c in the shape of t."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return 1 / jnp.sqrt((alpha * self.data_std) ** 2 + sigma**2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear:
  """c = factor t + offset.

  Attributes:
    factor: 999 for score-SDE networks, N for a table's index.
    offset: -1 for a table's index.
  """

  factor: float = 999.0
  offset: float = 0.0

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns c in the shape of t."""
    return self.factor * base.as_time(t) + self.offset


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSigma:
  """c = factor log(sigma / (alpha unit)).

  Attributes:
    factor: 1/4 for EDM.
    unit: 2 for VE networks whose official data are in [0, 1].
  """

  factor: float = 0.25
  unit: float = 1.0

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns c in the shape of t."""
    return self.factor * (-0.5 * process.logsnr(t) - jnp.log(self.unit))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sigma:
  """c = sigma / (alpha unit).

  Attributes:
    unit: 2 for VE networks whose official data are in [0, 1].
  """

  unit: float = 1.0

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns c in the shape of t."""
    return jnp.exp(-0.5 * process.logsnr(t)) / self.unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeOf:
  """c = factor times the time at which another process is as noisy.

  Attributes:
    process: that process, the one of the network's training.
    factor: 999 for score-SDE networks.
  """

  process: base.Process
  factor: float = 999.0

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns c in the shape of t."""
    return self.factor * self.process.time_of_logsnr(process.logsnr(t))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NearestLevel:
  """c = the index of the level of a table whose sigma / alpha is nearest.

  Data without noise count as the level -1. c is constant between levels: it
  has no gradient.

  Attributes:
    process: the table.
  """

  process: discrete.Tabulated

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns c in the shape and dtype of t."""
    levels = np.exp(-0.5 * self.process.logsnr_table())
    levels = np.concatenate([[0.0], levels])
    sigma = jnp.exp(-0.5 * process.logsnr(t))
    middles = jnp.asarray(0.5 * (levels[1:] + levels[:-1]), sigma.dtype)
    return jnp.searchsorted(middles, sigma).astype(sigma.dtype) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputMap:
  """Gives (c_in, c_noise) for a process and times.

  Attributes:
    scale: c_in.
    noise: c_noise.
  """

  scale: ScalarMap = Unscaled()
  noise: ScalarMap = Linear()

  def __call__(self, process: base.Process, t: Array) -> tuple[Array, Array]:
    """Returns (c_in, c_noise), each in the shape of t."""
    return self.scale(process, t), self.noise(process, t)
