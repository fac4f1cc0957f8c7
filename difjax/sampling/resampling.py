r"""Resampling: every step of a solver several times, with noise in between.

After a step from t to s the image is noised back to t,

  x_t = a x_s + b eps,   the forward transition,                          (1)

and the step is taken again. Where a denoiser only approximates a condition, as
`denoising.projected` does, each visit lets the parts of an image settle upon
each other at that noise level. Source: Lugmayr et al. 2022, RePaint,
algorithm 1, with jumps of one step.
"""

from __future__ import annotations

import dataclasses

import jax

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array, PyTree

_SLOTS = 2**16  # a visit's share of slots; no solver draws so often in a step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampled(solvers.Around):
  """A solver whose every step is taken several times (1).

  Attributes:
    solver: the rule of a step.
    visits: how often each step is taken; 1 changes nothing.
  """

  visits: int = 10

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.visits < 1:
      raise ValueError(f'visits must be at least 1, not {self.visits}')

  @property
  def evaluations(self) -> int:
    """Those of the solver, a visit."""
    return self.visits * self.solver.evaluations

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
    """Takes x from t to s, again and again."""
    def once(i: Array, x: Array) -> tuple[Array, PyTree]:
      return self.solver.step(
        denoiser, process, state, x, t, s, noises.Later(noise, 1 + i * _SLOTS)
      )

    def visit(i: Array, x: Array) -> Array:
      back = noise.normal(i * _SLOTS, x)
      return process.renoise(once(i, x)[0], s, t, back)

    last = self.visits - 1
    return once(last, jax.lax.fori_loop(0, last, visit, x))
