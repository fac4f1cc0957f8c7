"""A notice that the machine goes away, and peers that are gone.

The notice is SIGTERM. Under `jax.distributed` XLA catches it on whichever
process it reaches and agrees with all others on a step to save; a handler of
Python's would silently take its place, so there is none. A process alone has no
one to agree with: there the handler is ours. Both ways the loop asks after
every step whether to save it and leave with code 42.

When a peer is killed, the others fail in a collective, or in a save that waits
for it. An ordered end would wait for the lost one too, so there is none: the
process says why and leaves at once, with the code that asks for a new start.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Callable

import jax
from jax.experimental import multihost_utils

from difjax import errors

_LOST = re.compile(
  'by peer|gloo|nccl|heartbeat|socket closed|timed out|UNAVAILABLE'
  '|DEADLINE_EXCEEDED|ABORTED',
  re.IGNORECASE,
)


class Preemption(contextlib.AbstractContextManager):
  """Listens for the notice for the length of a block."""

  def __init__(self) -> None:
    self._noted = False
    self._before: signal._HANDLER = None
    main = threading.current_thread() is threading.main_thread()
    self._ours = main and not jax.distributed.is_initialized()
    self._asked = 0

  def __enter__(self) -> Preemption:
    if self._ours:
      self._before = signal.signal(signal.SIGTERM, self._note)
    return self

  def __exit__(self, *_: object) -> None:
    if self._ours:
      signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

  def _note(self, number: int, frame: types.FrameType | None) -> None:
    del number, frame
    self._noted = True

  def reached(self, done: int) -> bool:
    """Says whether to save and leave; every process asks after every step.

    XLA agrees on the number after the largest that was asked for, and answers
    to that number alone. It starts from 0: a resumed run that began at its own
    step would never ask for what a notice before it was agreed on.
    """
    if not jax.distributed.is_initialized():
      return self._noted
    since, self._asked = self._asked, done
    numbers = range(since + 1, done + 1)
    return any([*map(multihost_utils.reached_preemption_sync_point, numbers)])


def stopped(done: int) -> errors.RetryError:
  """Returns what to raise once that many steps are saved."""
  return errors.RetryError(
    f'preempted: step {done} is saved, and the same command goes on from it'
  )


class Peers(contextlib.AbstractContextManager):
  """Leaves the process at once where a block fails for want of a peer."""

  def __init__(self, noted: Callable[[int], None]) -> None:
    """Takes what is to be called with the exit code before leaving."""
    self._noted = noted

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    if jax.process_count() == 1 or not isinstance(error, Exception):
      return
    if reason := lost(error):
      self._noted(errors.RetryError.exit_code)
      rank = jax.process_index()
      print(f'difjax: rank {rank} lost a peer: {reason}', file=sys.stderr)
      sys.stderr.flush()
      os._exit(errors.RetryError.exit_code)


def lost(error: BaseException | None) -> str | None:
  """Returns the line in which an error or its cause tells of a lost peer."""
  while error is not None:
    for line in str(error).splitlines():
      if _LOST.search(line):
        return line[:200]
    error = error.__cause__
  return None
