"""Traces of jax's profiler: of some steps, or when somebody asks for them.

`touch WORKDIR/profile` while a run goes on, and its next steps are traced; the
file is taken away. Traces lie in WORKDIR/traces/STEP, STEP the first of them,
for xprof (`pip install xprof; xprof WORKDIR/traces/STEP`) and Perfetto. The
loop waits for the device at the end of a trace and at no other time.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time

import jax

from difjax.typing import PyTree

_LOG = logging.getLogger(__name__)
_REQUEST = 'profile'  # the file that asks for a trace
_FOLDER = 'traces'
_PATIENCE = 2.0  # seconds between two looks for the file: storage may be slow


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
  """Which steps are traced without being asked for.

  Attributes:
    first: the first of them, from 1; None for none.
    steps: how many make a trace, also one that is asked for.
  """

  first: int | None = None
  steps: int = 5

  def __post_init__(self) -> None:
    if self.steps < 1 or (self.first is not None and self.first < 1):
      raise ValueError(
        f'Profile: first={self.first} and steps={self.steps} must be above 0'
      )


class Tracer:
  """Starts and stops the profiler between the steps of a run.

  Args:
    profile: what to trace.
    workdir: of the run.
    done: steps done at the start.
  """

  def __init__(
    self, profile: Profile, workdir: pathlib.Path, done: int
  ) -> None:
    self._profile = profile
    self._workdir = workdir
    self._last: int | None = None  # the last step of the trace that runs
    self._looked = -_PATIENCE
    self._begin(done)

  def push(self, done: int, arrays: PyTree) -> None:
    """Acts between a step that was dispatched and the next.

    Args:
      done: number of the step.
      arrays: what it returns; waited for at the end of a trace.
    """
    if self._last is None:
      self._begin(done)
    elif done >= self._last:
      jax.block_until_ready(arrays)
      self.close()

  def close(self) -> None:
    """Ends a trace that runs."""
    if self._last is not None:
      self._last = None
      jax.profiler.stop_trace()

  def _begin(self, done: int) -> None:
    if done + 1 != self._profile.first and not self._asked():
      return
    folder = self._workdir / _FOLDER / str(done + 1)
    try:
      jax.profiler.start_trace(str(folder))
    except RuntimeError as error:  # somebody else is tracing
      _LOG.warning('no trace of step %d: %s', done + 1, error)
      return
    self._last = done + self._profile.steps
    _LOG.warning('tracing steps %d to %d: %s', done + 1, self._last, folder)

  def _asked(self) -> bool:
    """Looks for the file, now and then, where files are written."""
    now = time.monotonic()
    if jax.process_index() or now - self._looked < _PATIENCE:
      return False
    self._looked = now
    request = self._workdir / _REQUEST
    if not request.is_file():
      return False
    request.unlink()
    return True
