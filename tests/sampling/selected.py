"""One of the smooth processes by its number, which jax may trace.

A solver compiled on it runs on all of them: one program instead of nine.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from difjax.processes import base
from tests import conftest

EVERY = tuple(make() for make in conftest.SMOOTH.values())
NUMBERS = np.arange(len(EVERY))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selected(base.Process):
  """The process `EVERY[number]`; all of them are computed, and one is taken."""

  number: object
  t_min: object = None
  t_max: object = None

  def __post_init__(self):
    pass  # the times may be traced too

  def alpha(self, t):
    return self._take([process.alpha(t) for process in EVERY])

  def sigma(self, t):
    return self._take([process.sigma(t) for process in EVERY])

  def logsnr(self, t):
    return self._take([process.logsnr(t) for process in EVERY])

  def time_of_logsnr(self, logsnr):
    return self._take([process.time_of_logsnr(logsnr) for process in EVERY])

  def prior_logp(self, x):
    return self._take([process.prior_logp(x) for process in EVERY])

  def _take(self, values):
    return jnp.stack(values)[self.number]
