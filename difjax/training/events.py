"""What a run does with its time: `events.jsonl`, to which attempts append.

At every moment an attempt is in one phase. A row gives the seconds that were
spent in each since the attempt's last row, so that rows add up to the time that
passed, whatever comes between them. An attempt begins with the row `start` and,
unless it is killed, ends with `exit`; between them a row is written whenever
the time since the last one is a hundredth of the attempt's, a minute at most:
a kill leaves one per cent unaccounted, and a year fits in a file.

Step times are counted in bins a twentieth apart, which merge by addition:

  bin(t) = round(log(t) / log(1.05)),    t(bin) = 1.05^bin              (1)
"""

from __future__ import annotations

import collections
import enum
import json
import logging
import math
import os
import pathlib
import socket
import time
from collections.abc import Mapping
from typing import Any

_LOG = logging.getLogger(__name__)
_BIN = math.log(1.05)
_SHARE, _LONGEST = 0.01, 60.0  # of the attempt, seconds: between two rows

Row = dict[str, Any]


class Phase(enum.StrEnum):
  """What an attempt is doing."""

  INIT = 'init'  # the process starts, the config is built
  RESTORE = 'restore'  # a checkpoint is read, or the first state made
  COMPILE = 'compile'  # the first step
  DATA = 'data'  # waiting for a batch
  STEP = 'step'
  SAVE = 'save'  # blocked by a checkpoint
  HOOKS = 'hooks'


class Events:
  """The account of one attempt, and the phase that it is in.

  Attributes:
    phase: the current one.
    step: steps done.
    totals: the seconds spent in each so far.
  """

  def __init__(self, workdir: pathlib.Path | None, began: float) -> None:
    """Opens the account.

    Args:
      workdir: of the run; None: nothing is written.
      began: when this attempt did, by `time.time`; no earlier than the last row
        of the one before.
    """
    self.phase, self.step = Phase.INIT, 0
    self._file = None if workdir is None else workdir / 'events.jsonl'
    began = min(max(began, _last_time(self._file)), time.time())
    self._began = time.monotonic() - (time.time() - began)
    self._since = self._written = self._began
    self.totals = dict.fromkeys(Phase, 0.0)
    self._told = dict(self.totals)
    self._bins: collections.Counter[int] = collections.Counter()
    self._wall = 0.0
    self.write('start', {
      'began': began, 'host': socket.gethostname(), 'pid': os.getpid()
    })  # fmt: skip

  def enter(self, phase: Phase) -> Phase:
    """Ends the current phase and begins another; returns the ended one."""
    now = time.monotonic()
    spent = now - self._since
    self.totals[self.phase] += spent
    if self.phase in (Phase.DATA, Phase.STEP):
      self._wall += spent
    before, self.phase, self._since = self.phase, phase, now
    return before

  def beat(self, step: int) -> None:
    """Notes that so many steps are done; now and then writes a row."""
    before = self.enter(self.phase)
    self.step = step
    if before is not Phase.COMPILE:
      self._bins[_bin(self._wall)] += 1
    self._wall = 0.0
    age, gap = self._since - self._began, self._since - self._written
    if gap > min(_SHARE * age, _LONGEST):
      self.write('steps', {})

  def write(self, event: str, row: Mapping[str, Any]) -> None:
    """Appends a row; a disk that is full ends no run here."""
    self.enter(self.phase)
    spent = {
      phase: round(total - self._told[phase], 6)
      for phase, total in self.totals.items()
      if total > self._told[phase]
    }
    whole = {'time': round(time.time(), 6), 'event': event, 'step': self.step}
    whole |= {**row, 'seconds': spent}
    if self._bins:
      whole['bins'] = dict(self._bins)
    self._told, self._written = dict(self.totals), self._since
    self._bins.clear()
    if self._file is not None:
      try:
        _append(self._file, json.dumps(whole) + '\n')
      except OSError as error:
        _LOG.warning('%s: %s', self._file, error)


def read(workdir: pathlib.Path) -> list[Row]:
  """Reads `events.jsonl`; lines that a crash cut short are left out."""
  file = workdir / 'events.jsonl'
  return _rows(file.read_text()) if file.exists() else []


def seconds_of(key: str) -> float:
  """Returns the step time of a bin by equation (1)."""
  return math.exp(int(key) * _BIN)


def _bin(seconds: float) -> int:
  return round(math.log(max(seconds, 1e-9)) / _BIN)


def _append(file: pathlib.Path, line: str) -> None:
  """Writes a line at once, below one that was cut short."""
  flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
  handle = os.open(file, flags, 0o666)
  try:
    size = os.fstat(handle).st_size
    torn = size and os.pread(handle, 1, size - 1) != b'\n'
    os.write(handle, (torn * '\n' + line).encode())
  finally:
    os.close(handle)


def _last_time(file: pathlib.Path | None) -> float:
  if file is None or not file.exists():
    return 0.0
  with file.open('rb') as stream:
    stream.seek(max(file.stat().st_size - 2**16, 0))
    rows = _rows(stream.read().decode(errors='replace'))
  return rows[-1]['time'] if rows else 0.0


def _rows(text: str) -> list[Row]:
  found = []
  for line in text.splitlines():
    try:
      row = json.loads(line)
    except ValueError:
      continue
    if isinstance(row, dict) and 'time' in row:
      found.append(row)
  return found
