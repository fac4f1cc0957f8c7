"""One run at a time in a work directory.

`run.lock` says which process holds it: host, process id, time. On its own host
the kernel knows whether that process lives, for it holds a lock on the file
that ends with it, however it ends. A process on another host shows that it
lives by touching the file; one that was left behind is not touched any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import logging
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

from difjax import errors
from difjax.training import distributed

_LOG = logging.getLogger(__name__)
NAME = 'run.lock'
_BEAT = 5.0  # seconds between two touches
_PATIENCE = 4 * _BEAT  # without a touch: the other host's process is gone


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Holder:
  """Who holds a lock."""

  host: str = '?'
  pid: int = 0
  since: str = '?'

  def __str__(self) -> str:
    return f'process {self.pid} on {self.host} since {self.since}'


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
  """Holds the lock of a work directory; every process of a run calls it.

  Process 0 takes it for all, and says to the others how that went.

  Args:
    workdir: must exist; on a local or a shared file system.

  Raises:
    ConfigError: another run holds it.
  """
  file = workdir / NAME
  with contextlib.ExitStack() as stack:
    refusal = None
    if distributed.is_first():
      try:
        stack.enter_context(_taken(file))
      except Exception as error:  # the others must not wait for this one
        refusal = error
    if distributed.from_first(refusal is not None):
      raise refusal or errors.ConfigError(
        f'{workdir} is in use: process 0 says by whom'
      )
    yield


def check_free(workdir: pathlib.Path) -> None:
  """Refuses a work directory that a run holds, and leaves it as it is.

  Raises:
    ConfigError: a process of this host holds it.
  """
  file = workdir / NAME
  if not file.exists():
    return
  with contextlib.suppress(FileNotFoundError), file.open() as stream:
    # Shared: processes of one job look at the same time.
    _flock(stream.fileno(), file, fcntl.LOCK_SH)


@contextlib.contextmanager
def _taken(file: pathlib.Path) -> Iterator[None]:
  descriptor = _locked(file)
  done = threading.Event()
  beat = threading.Thread(target=_touch, args=(file, done), daemon=True)
  try:
    _await_other_host(file)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _spelled(_me()), 0)
    beat.start()
    try:
      yield
    finally:
      done.set()
      file.unlink(missing_ok=True)
  finally:
    os.close(descriptor)


def _locked(file: pathlib.Path) -> int:
  """Opens and locks the file that has this name, not one deleted meanwhile."""
  while True:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
      _flock(descriptor, file)
      with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), file.stat()):
          return descriptor
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)


def _flock(
  descriptor: int, file: pathlib.Path, kind: int = fcntl.LOCK_EX
) -> None:
  """Locks an open file until it is closed.

  Raises:
    ConfigError: another process has it locked.
  """
  try:
    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
  except BlockingIOError:
    raise _refusal(file) from None
  except OSError as error:  # a file system without locks: touches must do
    _LOG.warning('%s cannot be locked here: %s', file, error)


def _await_other_host(file: pathlib.Path) -> None:
  """Waits until a lock that was left on another host has proved to be stale.

  Raises:
    ConfigError: it is touched: its process lives.
  """
  holder = _read(file)
  if holder == _Holder():
    return
  if holder.host != socket.gethostname():
    _LOG.warning('%s is of %s: waiting whether it lives', file, holder)
    last, until = _touched(file), time.monotonic() + _PATIENCE
    while time.monotonic() < until:
      time.sleep(_BEAT / 5)
      if _touched(file) != last:
        raise _refusal(file)
  _LOG.warning('%s was left by %s, which is gone', file, holder)


def _touched(file: pathlib.Path) -> int:
  """Returns when the file was touched; opening it asks a file server anew."""
  with file.open('rb') as stream:
    return os.fstat(stream.fileno()).st_mtime_ns


def _touch(file: pathlib.Path, done: threading.Event) -> None:
  while not done.wait(_BEAT):
    with contextlib.suppress(OSError):
      os.utime(file)


def _refusal(file: pathlib.Path) -> errors.ConfigError:
  return errors.ConfigError(
    f'{file.parent} is in use by {_read(file)}: stop that run, or use another '
    '--workdir'
  )


def _read(file: pathlib.Path) -> _Holder:
  try:
    return _Holder(**json.loads(file.read_text()))
  except (OSError, TypeError, ValueError):  # empty, or half written
    return _Holder()


def _me() -> _Holder:
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  return _Holder(host=socket.gethostname(), pid=os.getpid(), since=now)


def _spelled(holder: _Holder) -> bytes:
  return json.dumps(dataclasses.asdict(holder)).encode()
