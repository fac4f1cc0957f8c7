"""What training changes: arrays only, no functions and no random keys."""

from __future__ import annotations

import flax.struct

from difjax.typing import Array, Params, PyTree


@flax.struct.dataclass
class TrainState:
  """The state between two steps.

  Attributes:
    step: int32, steps done; batches and randomness follow from it.
    params: what is trained, float32.
    opt_state: the optimiser's moments.
    ema: averages of the parameters, by name.
    aux: the objective's state without gradients.
    skipped: int32, steps whose update was dropped for not being finite.
    streak: int32, how many of them came last, one after the other.
  """

  step: Array
  params: Params
  opt_state: PyTree
  ema: dict[str, Params]
  aux: PyTree
  skipped: Array
  streak: Array
