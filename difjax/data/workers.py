"""A source that processes of its own read, where threads get in their way.

Python runs one thread at a time. Decoding lets others run for most of its time,
yet two threads decode small JPEGs at 1.6 times the speed of one, and many cores
are of little use. Processes have no such limit. In exchange each of them starts
anew, opens its files itself, and sends its pixels through a pipe.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import multiprocessing
import operator
import os
import signal
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

from difjax import errors
from difjax.data import source as sources
from difjax.typing import Array

_SOURCE: contextvars.ContextVar[sources.Source] = contextvars.ContextVar(
  'source'  # what a worker reads
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workers(sources.Wrapped):
  """Another source, read by processes.

  They start when the first examples are asked for, and end with this process
  however it ends. Signals are left to this one.

  Attributes:
    count: of processes. A pipeline with four threads for each keeps them busy.
  """

  count: int

  def __post_init__(self) -> None:
    if self.count < 1:
      raise errors.ConfigError(
        f'count={self.count} of data.Workers must be at least 1'
      )

  def examples(self, indices: Array) -> list[dict[str, Array]]:
    """Examples at `indices` [B], read by one of the processes."""
    return self._asked(operator.methodcaller('examples', indices))

  def take(self, indices: Array) -> dict[str, Array]:
    """Examples at `indices` [B], read and stacked by one of the processes."""
    return self._asked(operator.methodcaller('take', indices))

  @property
  def replaced(self) -> int:
    """Damaged examples that the processes have met, each for itself."""
    return sum(self._met.values())

  def _asked(self, read: Callable[[sources.Source], Any]) -> Any:
    """What a process makes of `read`; what it raises is raised here."""
    try:
      worker, replaced, found = self._pool.submit(_work, read).result()
    except futures.process.BrokenProcessPool as e:
      raise errors.DataError(
        'a process that reads data was killed, perhaps for its memory: give '
        f'data.Workers fewer than count={self.count}'
      ) from e
    self._met[worker] = replaced
    return found

  @functools.cached_property
  def _met(self) -> dict[int, int]:
    return {}

  @functools.cached_property
  def _pool(self) -> futures.ProcessPoolExecutor:
    # Spawned: a process that runs jax must not be forked.
    return futures.ProcessPoolExecutor(
      self.count, multiprocessing.get_context('spawn'), _begin, (self.source,)
    )


def _begin(source: sources.Source) -> None:
  """Makes a worker of this process."""
  for number in (signal.SIGINT, signal.SIGTERM):  # they reach whole groups
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _SOURCE.set(source)


def _end_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(read: Callable[[sources.Source], Any]) -> tuple[int, int, Any]:
  """Returns this process, its damaged examples so far, and what was read."""
  source = _SOURCE.get()
  found = read(source)
  return os.getpid(), source.replaced, found
