"""A thread that turns a hang into an exit that asks for a new start.

A collective whose peer is stuck waits for ever: no error, and SIGTERM is
swallowed. Only the clock can tell. Where no step is done for

  T = max(patience, 20 median(seconds of the last steps)),

every thread's stack is written, and the process leaves with code 42; its peers
do the same, or fail for its want. While a program is compiled, a checkpoint
read or written, or a hook acts, the limit is 30 T. Nothing is saved: the
state may be what hangs.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import os
import pathlib
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable

from difjax import errors

_STEPS, _SLOW = 20, 30
_REMEMBERED = 100
_LAST_WORDS = 10.0  # seconds, should the disk hang or nobody read stderr


class Watchdog(contextlib.AbstractContextManager):
  """Watches for the length of a block; None as patience watches nothing."""

  def __init__(
    self,
    patience: float | None,
    file: pathlib.Path,
    noted: Callable[[int], None] = lambda code: None,
  ) -> None:
    """Prepares to watch.

    Args:
      patience: least seconds without a step that count as a hang.
      file: where the stacks go, besides stderr.
      noted: what is to be called with the exit code before leaving.
    """
    self._patience, self._file, self._noted = patience, file, noted
    self._steps: collections.deque[float] = collections.deque(
      maxlen=_REMEMBERED
    )
    self._step: int | None = None
    self._beat = self._since = time.monotonic()
    self._factor = 1
    self._over = threading.Event()

  def __enter__(self) -> Watchdog:
    if self._patience is not None:
      threading.Thread(
        target=self._watch, args=(self._patience,), daemon=True,
        name='difjax-watchdog',
      ).start()  # fmt: skip
    return self

  def __exit__(self, *_: object) -> None:
    self._over.set()

  def beat(self, step: int) -> None:
    """Notes that so many steps are done."""
    now = time.monotonic()
    if self._step is not None:
      self._steps.append(now - self._beat)
    self._step, self._beat, self._since = step, now, now

  def allow(self, slow: bool) -> None:
    """Counts anew, generously if what comes now may take long."""
    self._since = time.monotonic()  # first: the other thread reads both
    self._factor = _SLOW if slow else 1

  def limit(self) -> float:
    """Returns T, or 30 T, in seconds."""
    steps = list(self._steps)
    usual = statistics.median(steps) if steps else 0.0
    return self._factor * max(self._patience or 0.0, _STEPS * usual)

  def _watch(self, patience: float) -> None:
    while not self._over.wait(min(patience / 20, 5.0)):
      limit = self.limit()
      idle = time.monotonic() - self._since
      if idle > limit:
        self._leave(idle)

  def _leave(self, idle: float) -> None:
    code = errors.RetryError.exit_code
    words = threading.Timer(_LAST_WORDS, os._exit, (code,))
    words.daemon = True
    words.start()
    try:
      line = (
        f'difjax: {socket.gethostname()} did no step for {idle:.0f} s after '
        f'step {self._step}; stacks in {self._file}; leaving with code {code}\n'
      )
      with self._file.open('a') as stream:
        stream.write(line)
        faulthandler.dump_traceback(stream, all_threads=True)
      self._noted(code)
      stderr = sys.__stderr__ or sys.stderr
      stderr.write(line)
      stderr.flush()
      faulthandler.dump_traceback(stderr, all_threads=True)
    finally:
      os._exit(code)
