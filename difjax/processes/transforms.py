r"""Processes made from processes.

A shift by a factor k makes the noise k times as strong at every time: the
base process is run on a warped clock tau,

  alpha'(t) = alpha(tau), sigma'(t) = sigma(tau),
  lambda(tau) = lambda(t) - 2 log k.                                      (1)

Larger images want k in proportion to their side: Hoogeboom et al. 2023, simple
diffusion, equation 4; for rectified flow (1) is the k t / (1 + (k - 1) t) of
Esser et al. 2024, equation 23. The ends move so that the range of lambda stays.

A rescaled process divides x by its standard deviation,

  alpha'(t) = alpha / r, sigma'(t) = sigma / r,
  r^2 = alpha^2 d^2 + sigma^2,                                            (2)

which leaves lambda as it is: the c_in of Karras et al. 2022, table 1, as a
process. Variance exploding becomes variance preserving, for d = 1.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from difjax.processes import base
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shifted(base.Process):
  """A process with noise `factor` times as strong at every time (1).

  Attributes:
    process: the base process, with a `time_of_logsnr` in closed form.
    factor: k > 0, for example side / 64.
  """

  process: base.Process
  factor: float
  t_min: float = 0.0  # 0 stands for the image of the base process's end
  t_max: float = 0.0

  def __post_init__(self) -> None:
    if not self.factor > 0:
      raise ValueError(f'factor must be above 0, not {self.factor}')
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
      for end in ('t_min', 't_max'):
        if not getattr(self, end):
          image = self._warp(getattr(self.process, end), 1 / self.factor)
          object.__setattr__(self, end, float(image))
    super().__post_init__()

  def alpha(self, t: Array) -> Array:
    """Returns alpha on the warped clock."""
    return self.process.alpha(self._warp(t, self.factor))

  def sigma(self, t: Array) -> Array:
    """Returns sigma on the warped clock."""
    return self.process.sigma(self._warp(t, self.factor))

  def logsnr(self, t: Array) -> Array:
    """Returns lambda(t) - 2 log k."""
    return self.process.logsnr(t) - 2 * math.log(self.factor)

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Asks the base process."""
    shifted = base.as_time(logsnr) + 2 * math.log(self.factor)
    return self.process.time_of_logsnr(shifted)

  def prior_std(self) -> float:
    """Asks the base process."""
    return self.process.prior_std()

  def _warp(self, t: Array, factor: float) -> Array:
    shifted = self.process.logsnr(t) - 2 * math.log(factor)
    return self.process.time_of_logsnr(shifted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescaled(base.Process):
  """A process divided by its own standard deviation (2).

  Attributes:
    process: the base process.
    data_std: d, the standard deviation of the data.
  """

  process: base.Process
  data_std: float = 1.0
  t_min: float = 0.0  # 0 stands for the base process's end
  t_max: float = 0.0

  def __post_init__(self) -> None:
    for end in ('t_min', 't_max'):
      if not getattr(self, end):
        object.__setattr__(self, end, getattr(self.process, end))
    super().__post_init__()

  def alpha(self, t: Array) -> Array:
    """Returns alpha / r."""
    return self.process.alpha(t) / self._std(t)

  def sigma(self, t: Array) -> Array:
    """Returns sigma / r."""
    return self.process.sigma(t) / self._std(t)

  def logsnr(self, t: Array) -> Array:
    """Asks the base process."""
    return self.process.logsnr(t)

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Asks the base process."""
    return self.process.time_of_logsnr(logsnr)

  def prior_std(self) -> float:
    """Returns 1."""
    return 1.0

  def _std(self, t: Array) -> Array:
    alpha, sigma = self.process.alpha(t), self.process.sigma(t)
    return jnp.sqrt((alpha * self.data_std) ** 2 + sigma**2)
