"""Processes that read batches, where threads get in each other's way.

Python runs one thread at a time. Decoding lets others run for most of its time,
yet two threads decode small JPEGs at 1.6 times the speed of one, and many cores
are of little use. Processes have no such limit. In exchange each of them starts
anew, opens its files itself, and sends its pixels through a pipe.

A worker is asked through its standard input and answers, one pickle for
another, through what was its standard output. It ends when nobody can ask it
any more, however the process that asked has ended; signals, which reach whole
groups of processes, are left to that one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
import weakref
from typing import BinaryIO, Protocol

from difjax import errors
from difjax.data import source as sources
from difjax.typing import Array, Batch

PIPE = 2**20  # bytes: an answer fits, so that no worker waits until it is read
AHEAD = 2  # questions to a worker, so that it has one when it is done with one
_MAIN = b'\x08__main__'  # as a pickle spells it: its length, and the name
_SERVE = """
import pickle, signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
  signal.signal(number, signal.SIG_IGN)
sys.path = pickle.load(sys.stdin.buffer)
from difjax.data import workers
workers.serve()
"""


class Reader(Protocol):
  """What a pipeline is to its workers: a source, and what is made of it."""

  source: sources.Source

  def read(self, epochs: Array, indices: Array) -> Batch:
    """Examples at `indices` [R] as they are seen in `epochs` [R]."""
    ...


class Workers:
  """Processes that read in place of this one, for any number of threads."""

  def __init__(self, reader: Reader, count: int) -> None:
    """Starts them.

    Args:
      reader: each of them gets a copy.
      count: how many.

    Raises:
      ConfigError: it cannot be copied.
    """
    sent = _pickled(reader)
    self._all = [_Worker(_started(sent)) for _ in range(count)]
    self._turns: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in self._all * AHEAD:
      self._turns.put(worker)
    weakref.finalize(self, _end, [worker.process for worker in self._all])

  def read(self, epochs: Array, indices: Array) -> Batch:
    """What the reader makes of them, in one of the processes.

    Raises:
      DataError: the process has ended; what the reader raises is raised too.
    """
    worker = self._turns.get()
    try:
      found = worker.ask((epochs, indices))
    except (EOFError, OSError, pickle.UnpicklingError) as e:
      raise errors.DataError(
        'a process that reads data has ended, perhaps killed for its memory: '
        f'give the pipeline fewer than workers={len(self._all)}'
      ) from e
    finally:
      self._turns.put(worker)
    if isinstance(found, Exception):
      raise found
    return found

  @property
  def replaced(self) -> int:
    """Damaged examples that the processes have met, each for itself."""
    return sum(worker.replaced for worker in self._all)


class _Worker:
  """A process, whose answers come in the order of the questions.

  Attributes:
    process: it runs `serve`.
    replaced: how many damaged examples it has met.
  """

  def __init__(self, process: subprocess.Popen[bytes]) -> None:
    self.process, self.replaced = process, 0
    self._asking, self._last = threading.Lock(), threading.Event()
    self._last.set()

  def ask(self, question: tuple[Array, Array]) -> Batch | Exception:
    """Asks behind those that wait already, and waits for the answer."""
    answered = threading.Event()
    try:
      with self._asking:
        before, self._last = self._last, answered
        _send(self.process.stdin, question)
      before.wait()
      self.replaced, found = pickle.load(self.process.stdout)
    finally:
      answered.set()
    return found


def serve() -> None:
  """What a worker does: it gets a reader, and reads what it is asked for."""
  asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # what a reader prints is no answer
  try:
    reader = pickle.load(asked)
  except (ImportError, AttributeError) as e:
    sys.exit(f'difjax: a worker cannot make what it is to read: {e}')
  with contextlib.suppress(EOFError, BrokenPipeError):
    while True:
      numbers = pickle.load(asked)
      try:
        found = reader.read(*numbers)
      except Exception as e:  # whoever asked decides what it means
        found = _sendable(e)
      _send(answers, (reader.source.replaced, found))


def _sendable(error: Exception) -> Exception:
  """The same, with the place where it came from, or what can be said of it."""
  error.add_note(f'in a worker:\n{traceback.format_exc()}')
  try:
    return pickle.loads(pickle.dumps(error))
  except Exception:  # not all that can be raised can be copied
    return RuntimeError(f'{type(error).__name__}: {error}')


def _pickled(reader: Reader) -> bytes:
  """What a worker is told at first: where modules are, and what it reads."""
  try:
    sent = pickle.dumps(reader)
    if _MAIN in sent:
      raise TypeError('a part of it is defined in the script that runs')
  except (pickle.PicklingError, AttributeError, TypeError) as e:
    raise errors.ConfigError(
      f'workers of a pipeline cannot be sent its source and transforms ({e}): '
      'make them of dataclasses of a module, or set workers=0'
    ) from e
  return pickle.dumps(sys.path) + sent


def _started(sent: bytes) -> subprocess.Popen[bytes]:
  worker = subprocess.Popen(
    (sys.executable, '-c', _SERVE),
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
  )  # fmt: skip
  # Other systems have no such number, and few rights may not suffice.
  with contextlib.suppress(AttributeError, PermissionError):
    fcntl.fcntl(worker.stdout, fcntl.F_SETPIPE_SZ, PIPE)
  worker.stdin.write(sent)
  return worker


def _send(stream: BinaryIO, found: object) -> None:
  pickle.dump(found, stream, protocol=5)
  stream.flush()


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
  for worker in workers:
    worker.kill()  # it only reads, perhaps from a disk that does not answer
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
      with contextlib.suppress(BrokenPipeError):
        stream.close()
