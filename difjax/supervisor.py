"""Runs a command again and again until it is done.

A command, or several local processes of it, is started anew when it ends with a
code that asks for that: 42, or 128 and above, which is a signal. What else it
may end with is a mistake that would come again. Restarts are bounded, wait
longer each time, and stop where they are of no use: where several attempts in a
row leave the same newest checkpoint. SIGTERM and SIGINT are passed on, and are
the last. Nothing here imports jax.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Sequence

from etils import epath

from difjax import errors

_POLL = 0.1  # seconds
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_DOUBLINGS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervisor:
  """How to run a command until it is done.

  Attributes:
    processes: of each attempt, on this machine; above 1 each is told of the
      others by --coordinator, --num_processes and --process_id.
    restarts: at most so many after the first attempt.
    backoff: seconds before a restart; doubled while nothing is saved, to 64
      times that, and as at first once there is a new checkpoint.
    stalled: so many attempts in a row that leave no new checkpoint are the
      last.
    grace: seconds that processes have to leave when one of them has failed.
    workdir: whose checkpoints tell of progress; None: nothing does.
  """

  processes: int = 1
  restarts: int = 100
  backoff: float = 5.0
  stalled: int = 3
  grace: float = 60.0
  workdir: pathlib.Path | None = None

  def run(self, command: Sequence[str]) -> int:
    """Runs a command until it is done.

    Returns:
      The exit code of the last attempt; 128 + N for signal N.

    Raises:
      ConfigError: the command cannot be started.
    """
    idle, step = 0, newest(self.workdir)
    with _Children() as children:
      for attempt in range(self.restarts + 1):
        children.start(commands(command, self.processes))
        code = children.wait(self.grace)
        if code == 0 or not retryable(code) or children.stopping:
          return code
        before, step = step, newest(self.workdir)
        idle = idle + 1 if step is not None and step == before else 0
        if idle >= self.stalled:
          _say(f'{idle} attempts saved nothing beyond step {step}: giving up')
          break
        if attempt < self.restarts:
          seconds = self.backoff * 2 ** min(max(idle - 1, 0), _DOUBLINGS)
          _say(
            f'exit code {code}, newest checkpoint {step}: restart '
            f'{attempt + 1} of {self.restarts} in {seconds:g} s'
          )
          children.sleep(seconds)
          if children.stopping:
            break
    return code


class _Children:
  """The processes of an attempt, and the signals that are passed on to them.

  They have process groups of their own: what a terminal sends reaches them
  through here, once.

  Attributes:
    stopping: whether a signal has asked for the end.
  """

  def __init__(self) -> None:
    self.stopping = False
    self._running: list[subprocess.Popen[bytes]] = []
    self._before = [signal.getsignal(number) for number in _SIGNALS]

  def __enter__(self) -> _Children:
    for number in _SIGNALS:
      signal.signal(number, self._pass_on)
    return self

  def __exit__(self, *_: object) -> None:
    for child in self._running:
      child.kill()
      child.wait()
    for number, handler in zip(_SIGNALS, self._before, strict=True):
      signal.signal(number, handler)

  def _pass_on(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    self.stopping = True
    for child in self._running:
      child.send_signal(number)

  def start(self, commands: Sequence[Sequence[str]]) -> None:
    """Starts a process for each command.

    Raises:
      ConfigError: one cannot be started.
    """
    self._running = []
    for command in commands:
      try:
        self._running.append(subprocess.Popen(command, process_group=0))
      except OSError as error:
        raise errors.ConfigError(
          f'{command[0]} cannot be started: {error.strerror}'
        ) from error
    if self.stopping:  # the signal came while they were being started
      for child in self._running:
        child.terminate()

  def wait(self, grace: float) -> int:
    """Waits for all, a while only once one has failed; returns one code.

    That of a mistake if one ended so, otherwise the highest.
    """
    deadline = math.inf
    while any(child.poll() is None for child in self._running):
      codes = [child.poll() for child in self._running]
      if any(codes) and deadline == math.inf:
        deadline = time.monotonic() + grace
      if time.monotonic() > deadline:
        for child in self._running:
          child.kill()
      time.sleep(_POLL)
    ended = [child.returncode for child in self._running]
    self._running = []
    codes = [128 - code if code < 0 else code for code in ended]
    return max([c for c in codes if c and not retryable(c)] or codes)

  def sleep(self, seconds: float) -> None:
    """Waits so long, less if a signal asks for the end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not self.stopping:
      time.sleep(_POLL)


def commands(command: Sequence[str], processes: int) -> list[list[str]]:
  """Returns what each process of an attempt runs."""
  if processes == 1:
    return [list(command)]
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  return [
    [
      *command, f'--coordinator=127.0.0.1:{port}',
      f'--num_processes={processes}', f'--process_id={rank}',
    ]
    for rank in range(processes)
  ]  # fmt: skip


def retryable(code: int) -> bool:
  """Says whether a code asks for a new start, as `difjax.errors` lists them."""
  return code == errors.RetryError.exit_code or code >= 128


def newest(workdir: pathlib.Path | None) -> int | None:
  """Returns the newest saved step, 0 if there is none."""
  if workdir is None:
    return None
  with contextlib.suppress(OSError, ValueError):  # no run has been there yet
    spec = json.loads((workdir / 'config.json').read_text())
    elsewhere = spec.get('checkpoints', {}).get('directory')
    workdir = epath.Path(elsewhere or workdir)
  names = [path.name for path in (workdir / 'checkpoints').glob('*')]
  return max((int(name) for name in names if name.isdigit()), default=0)


def _say(line: str) -> None:
  print(f'difjax supervise: {line}', file=sys.stderr, flush=True)
