"""The grammar of solvers: init and step, as in optax.

A solver receives the denoiser, so a step with two evaluations is two calls and
no state machine. Its step goes from time t to s < t. Adding a solver is adding
a class with the members of `Solver`; nothing else has to know it. One whose
steps depend on the times before and after them is planned: it sees the grid
once, on the host, and gives the solver of that grid.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.typing import Array, PyTree


class Solver(Protocol):
  """A rule that takes x from time t to time s < t."""

  @property
  def evaluations(self) -> int:
    """Calls of the denoiser in a step."""

  @property
  def remembers(self) -> bool:
    """Whether a step builds on those before it."""

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


class Planned(Protocol):
  """A solver whose steps depend on the grid as a whole."""

  @property
  def evaluations(self) -> int:
    """Calls of the denoiser in a step."""

  @property
  def remembers(self) -> bool:
    """Whether a step builds on those before it."""

  def plan(self, process: base.Process, times: np.ndarray) -> Solver:
    """Returns the solver of one grid, times [N] on the host.

    Its steps are to be taken in order, from the first.
    """


def on_grid(
  solver: Solver | Planned, process: base.Process, times: np.ndarray
) -> Solver:
  """Lets a solver that plans see its grid; any other is as it was."""
  plan = getattr(solver, 'plan', None)
  return solver if plan is None else plan(process, times)


def require_memoryless(solver: Solver | Planned, taker: object) -> None:
  """Refuses a multistep solver where x moves between or within its steps.

  Args:
    solver: the solver.
    taker: what takes it.

  Raises:
    ValueError: when the solver builds on earlier steps.
  """
  if solver.remembers:
    raise ValueError(
      f'{type(taker).__name__} takes single-step solvers such as '
      f'sampling.DPMSolver2, and {type(solver).__name__} builds on earlier '
      'steps'
    )


class Memoryless:
  """A solver whose steps know nothing of each other."""

  @property
  def remembers(self) -> bool:
    """No."""
    return False

  def init(self, x: Array) -> tuple[()]:
    """Returns the empty state."""
    del x
    return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around(Memoryless):
  """A solver made of a single-step one. Subclasses give the step.

  Attributes:
    solver: the rule of a step.
  """

  solver: Solver | Planned

  def __post_init__(self) -> None:
    require_memoryless(self.solver, self)

  @property
  def evaluations(self) -> int:
    """Those of the solver."""
    return self.solver.evaluations

  def plan(self, process: base.Process, times: np.ndarray) -> Around:
    """Returns the solver of one grid, times [N]."""
    solver = on_grid(self.solver, process, times)
    return dataclasses.replace(self, solver=solver)
