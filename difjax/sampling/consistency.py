r"""Multistep consistency sampling: to the data, and back up with noise.

A consistency function gives x at t_min from x at t in one evaluation. To go on
from there, its answer is noised up to s,

  x_s = a f(x_t, t) + b z,   the forward transition from t_min to s.      (1)

Here f is the x_0 of a denoiser; which scaling of a network makes it so is the
denoiser's. On a grid of one time, `FixedGrid` is the one-step sampler. Source:
Song et al. 2023, Consistency Models, algorithm 1.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver
from difjax.typing import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyMultistep(solver.Memoryless):
  """To the data and back up to s (1).

  Attributes:
    t_min: the time that the function leads to; None: the process's.
  """

  t_min: float | None = None

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
    low = process.t_min if self.t_min is None else self.t_min
    x0, z = denoiser(x, t).x0, noise.normal(0, x)
    return process.renoise(x0, jnp.asarray(low, s.dtype), s, z), state
