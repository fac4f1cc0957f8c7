"""The grammar of solvers: init and step, as in optax.

A solver receives the denoiser, so a step with two evaluations is two calls and
no state machine. Its step goes from time t to s < t. Adding a solver is adding
a class with these three members; nothing else has to know it.
"""

from __future__ import annotations

from typing import Protocol

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.typing import Array, PyTree


class Solver(Protocol):
  """A rule that takes x from time t to time s < t."""

  @property
  def evaluations(self) -> int:
    """Calls of the denoiser in a step."""

  def init(self, x: Array) -> PyTree:
    """Returns the state before the first step, x [B, ...]."""

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
    """Returns x at time s and the next state.

    Args:
      denoiser: (x [B, ...], t) -> Prediction.
      process: the process that x follows.
      state: what earlier steps left.
      x: [B, ...] at time t.
      t: scalar.
      s: scalar, below t.
      noise: this step's draws, by slot.
    """


class Memoryless:
  """A solver whose steps know nothing of each other."""

  def init(self, x: Array) -> tuple[()]:
    """Returns the empty state."""
    del x
    return ()
