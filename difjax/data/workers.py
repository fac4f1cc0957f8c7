"""Processes that read batches, where threads get in each other's way.

Python runs one thread at a time. Decoding lets others run for most of its time,
yet two threads decode small JPEGs at 1.6 times the speed of one, and many cores
are of little use. Processes have no such limit. In exchange each of them starts
anew, opens its files itself, and sends its pixels through a pipe.

A worker is asked through its standard input and answers, one pickle for
another, through what was its standard output. It ends when nobody can ask it
any more, however the process that asked has ended; signals, which reach whole
groups of processes, are left to that one. The first question is the reader
itself, what comes after it is what that one is to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from typing import Any, BinaryIO, Protocol

from difjax import errors
from difjax.data import source as sources
from difjax.typing import Array, Batch

PIPE = 2**20  # bytes: most answers fit, and no worker waits until it is read
AHEAD = 2  # questions to a worker, so that it has one when it is done with one
_MAIN = b'\x08__main__'  # as a pickle spells it: its length, and the name
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SERVE = """
import os, sys
asked = os.fdopen(os.dup(0), 'rb')
sys.path = sys.argv[1:]
from difjax.data import workers
workers.serve(asked)
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
      DataError: a process has ended.
    """
    _check(reader)
    started: list[subprocess.Popen[bytes]] = []
    weakref.finalize(self, _end, started)
    for _ in range(count):
      started.append(_started())
    self._all = [_Worker(process) for process in started]
    for worker in self._all:
      self._answer(worker, reader)
    self._turns: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in self._all * AHEAD:
      self._turns.put(worker)

  def read(self, epochs: Array, indices: Array) -> Batch:
    """What the reader makes of them, in one of the processes.

    Raises:
      DataError: the process has ended; what the reader raises is raised too.
    """
    worker = self._turns.get()
    try:
      return self._answer(worker, (epochs, indices))
    finally:
      self._turns.put(worker)

  def _answer(self, worker: _Worker, question: object) -> Any:
    try:
      found = worker.ask(question)
    except (EOFError, OSError, pickle.UnpicklingError) as e:
      code = worker.process.wait()  # it has closed its pipe: it ends
      why = f'has ended with code {code}; what it said stands above'
      if code == -signal.SIGKILL:
        why = (
          'was killed, perhaps for its memory: give the pipeline fewer than '
          f'workers={len(self._all)}'
        )
      raise errors.DataError(f'a process that reads data {why}') from e
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

  def ask(self, question: object) -> Any:
    """Asks behind those that wait already, and waits for the answer."""
    answered = threading.Event()
    try:
      with self._asking:
        before, self._last = self._last, answered
        pickle.dump(question, self.process.stdin)
        self.process.stdin.flush()
      before.wait()
      self.replaced, found = pickle.load(self.process.stdout)
    finally:
      answered.set()
    return found


def serve(asked: BinaryIO) -> None:
  """What a worker does: it gets a reader, and reads what it is asked for."""
  answers = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # what a source prints is no answer
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nor does it take questions

  def answer(replaced: int, found: object) -> None:
    pickle.dump((replaced, found), answers, protocol=5)
    answers.flush()

  # Until nobody asks any more.
  with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
    try:
      reader = pickle.load(asked)
    except (ImportError, AttributeError) as e:
      return answer(0, errors.ConfigError(
        f'a worker cannot make what it is to read: {e}'
      ))  # fmt: skip
    answer(0, None)
    while True:
      numbers = pickle.load(asked)
      try:
        found = reader.read(*numbers)
      except Exception as e:  # whoever asked decides what it means
        found = _sendable(e)
      answer(reader.source.replaced, found)


def _sendable(error: Exception) -> Exception:
  """The same, or what it is besides, with the place where it came from.

  Not all that can be raised can be copied; an Exception of a text can.
  """
  notes = [f'in a worker:\n{traceback.format_exc()}']
  kinds = type(error).__mro__
  for make in (lambda: error, *(lambda k=k: k(str(error)) for k in kinds)):
    with contextlib.suppress(Exception):
      told = make()
      told.__notes__ = notes
      return pickle.loads(pickle.dumps(told))
  raise AssertionError('an Exception of a text can be copied')


def _check(reader: Reader) -> None:
  try:
    if _MAIN in pickle.dumps(reader):
      raise TypeError('a part of it is defined in the script that runs')
  except (pickle.PicklingError, AttributeError, TypeError) as e:
    raise errors.ConfigError(
      f'workers of a pipeline cannot be sent its source and transforms ({e}): '
      'make them of dataclasses of a module, or set workers=0'
    ) from e


def _started() -> subprocess.Popen[bytes]:
  # A worker inherits what is held back, and holds it back for good.
  before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
  try:
    worker = subprocess.Popen(
      (sys.executable, '-P', '-c', _SERVE, *map(str, sys.path)),
      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
  # Other systems have no such number, and this one may not allow as much.
  with contextlib.suppress(AttributeError, OSError):
    fcntl.fcntl(worker.stdout, fcntl.F_SETPIPE_SZ, PIPE)
  return worker


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
  for process in processes:
    process.kill()  # it only reads
    process.wait()
    for stream in (process.stdin, process.stdout):
      with contextlib.suppress(BrokenPipeError):
        stream.close()
