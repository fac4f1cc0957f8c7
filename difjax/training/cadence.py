"""When a run saves its state."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax

from difjax.training import checkpoint, distributed

_LOOK = 20  # steps between two looks at the clock where processes must agree


class Cadence:
  """Says after which steps to save; the same on every process.

  Every so many steps, every so many minutes by the clock of process 0, and
  after the last step.
  """

  def __init__(
    self,
    options: checkpoint.Checkpoints,
    steps: int,
    clock: Callable[[], float] = time.monotonic,
  ) -> None:
    """Starts the clock.

    Args:
      options: every how many steps, and minutes.
      steps: the last step.
      clock: seconds.
    """
    self._options = options
    self._steps = steps
    self._clock = clock
    self._saved = clock()
    self._look = 1 if jax.process_count() == 1 else _LOOK

  def __call__(self, done: int) -> bool:
    """Says whether to save after step `done`; call it after every step."""
    due = (
      done % self._options.every == 0 or done == self._steps
      or self._late(done)
    )  # fmt: skip
    if due:
      self._saved = self._clock()
    return due

  def _late(self, done: int) -> bool:
    if self._options.minutes is None or done % self._look:
      return False
    late = self._clock() - self._saved >= 60 * self._options.minutes
    return bool(distributed.from_first(late))
