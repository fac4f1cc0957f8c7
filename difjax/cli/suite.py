"""All benchmarks of a config, each in a process of its own.

So none starts with another's memory, threads or compiled programs, what runs
out of memory takes nothing else with it, and devices that only one process can
hold are free for the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, Any

from difjax import config as configs
from difjax import errors

_OUT = 'runs/bench'


def one(plain: dict[str, Any], name: str) -> int:
  """Measures one benchmark here and prints its record as a line of JSON.

  Args:
    plain: the config; `parts` are the benchmarks by name, `order` is theirs.
    name: of the one.

  Raises:
    ConfigError: there is none of that name, or it is not well described.
  """
  names = plain['parts']['order']
  if name not in names:
    raise errors.ConfigError(
      f'there is no benchmark {name!r}; there are: {", ".join(names)}'
    )
  from difjax.evaluation import suite

  part = configs.build(plain['parts'][name], path=f'config.parts.{name}')
  print(json.dumps(suite.measure(part, plain['rounds'])))
  return 0


def whole(
  plain: dict[str, Any],
  argv: Sequence[str],
  out: str | None,
  readme: str | None,
) -> int:
  """Measures all that is not measured yet; returns the exit code.

  Args:
    plain: the config, as in `one`.
    argv: the flags that lead to it.
    out: folder of the figures.
    readme: a file whose table is made of them.

  Raises:
    ConfigError: `out` has figures of something else, or there is no place for
      a table.
  """
  from difjax.evaluation import suite

  if readme is not None:
    suite.around(pathlib.Path(readme))  # so that it fails before, not after
  # Ends as Ctrl-C does, so that no process is left behind.
  before = signal.signal(signal.SIGTERM, signal.default_int_handler)
  command = (sys.executable, '-m', 'difjax', 'bench', *argv)
  folder, limit = pathlib.Path(out or _OUT), 60 * plain['minutes']
  try:
    found = suite.run(
      plain['parts']['order'],
      lambda name: child([*command, f'--part={name}'], limit),
      suite.about(plain), folder,
    )  # fmt: skip
  finally:
    signal.signal(signal.SIGTERM, before)
  made = suite.table(found)
  print(made)
  if readme is not None:
    suite.insert(pathlib.Path(readme), made)
  return int(any('failed' in part for part in found['parts'].values()))


def child(command: Sequence[str], seconds: float) -> dict[str, Any]:
  """Runs a process that prints a record last; what it started ends with it.

  Args:
    command: of the process.
    seconds: that it may take.

  Returns:
    The record, or one that says how the process failed.
  """
  # Files, not pipes: what the process started may hold a pipe open for ever.
  with (
    tempfile.TemporaryFile('w+', errors='replace') as out,
    tempfile.TemporaryFile('w+', errors='replace') as err,
    subprocess.Popen(
      command, stdout=out, stderr=err, process_group=0
    ) as process,
  ):
    try:
      process.wait(seconds)
    except subprocess.TimeoutExpired:
      return {'failed': f'not done after {seconds / 60:g} minutes'}
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    printed, told = (_lines(stream) for stream in (out, err))
  if process.returncode < 0:
    name = signal.Signals(-process.returncode).name
    return {'failed': f'ended by {name}: is there memory left?'}
  if process.returncode or not printed:
    return {'failed': told[-1] if told else f'code {process.returncode}'}
  return json.loads(printed[-1])


def _lines(stream: IO[str]) -> list[str]:
  stream.seek(0)
  return [line for line in stream.read().splitlines() if line.strip()]
