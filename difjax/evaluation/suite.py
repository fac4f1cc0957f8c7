"""All benchmarks in one go: what is measured is kept, the rest goes on.

`bench.json` is written anew after each benchmark:

  {"about": {machine, processor, commit, versions, ...},
   "parts": {NAME: {"figures": [...], "devices", "date", "seconds"}
                 | {"skipped": WHY} | {"failed": WHY}}}

A second start measures what it does not hold yet, and what failed. Figures of
another machine, commit or description are not mixed with it: they are refused.
Documents may differ from the commit, for the table is written into one.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from difjax import config as configs
from difjax import environment, errors
from difjax.evaluation import plots, timings

FILE, TABLE = 'bench.json', 'bench.md'
MARKS = ('<!-- difjax bench -->', '<!-- end of difjax bench -->')
_PEERS = ('torch', 'torchvision', 'diffusers', 'pytorch-fid', 'webdataset')
_DIGITS = 12  # of a commit
_SHOWN = ('jax', 'flax', *_PEERS)  # of the versions, above the table

Record = timings.Record


def about(spec: Mapping[str, Any]) -> Record:
  """Returns what figures depend on, but for devices: these are measured on.

  Args:
    spec: of all benchmarks, as plain data.
  """
  text = json.dumps(spec, sort_keys=True, default=list)
  return {
    'machine': environment.machine(),
    'processor': environment.processor(),
    'commit': _commit(),
    'versions': environment.versions((*environment.PACKAGES, *_PEERS)),
    'description': hashlib.sha256(text.encode()).hexdigest(),
  }


def measure(benchmark: timings.Benchmark, rounds: int) -> Record:
  """Measures one benchmark in this process; a failure is a record too."""
  began, date = time.monotonic(), time.strftime('%Y-%m-%d')
  try:
    why = benchmark.unsuited()
    if why is not None:
      return {'skipped': why}
    found = [figure.record() for figure in benchmark.measure(rounds)]
    devices = environment.devices()
  except Exception as error:
    said = str(error).strip().splitlines()[:1]
    return {'failed': ': '.join([type(error).__name__, *said])}
  return {
    'figures': found, 'devices': devices, 'date': date,
    'seconds': round(time.monotonic() - began, 1),
  }  # fmt: skip


def run(
  names: Sequence[str],
  measured: Callable[[str], Record],
  described: Record,
  out: pathlib.Path,
  tell: Callable[[str], object] = lambda line: print(line, flush=True),
) -> Record:
  """Measures what is not measured yet.

  Args:
    names: of the benchmarks, in order.
    measured: measures one and returns its record.
    described: what figures depend on, of `about`.
    out: folder of `bench.json` and of the table made of it, `bench.md`.
    tell: is given a line for everything that was found.

  Returns:
    What `bench.json` holds.

  Raises:
    ConfigError: `out` has figures of something else.
  """
  found = _kept(out / FILE, described)
  for i, name in enumerate(names):
    tell(f'[{i + 1}/{len(names)}] {name}')
    if 'figures' not in found['parts'].get(name, {}):
      found['parts'][name] = measured(name)
      _write(out, found)
    for said in lines(found['parts'][name]):
      tell(f'  {said}')
  return found


def lines(part: Record) -> list[str]:
  """Returns what a benchmark found, or why it did not, a line each."""
  why = [f'{key}: {part[key]}' for key in ('skipped', 'failed') if key in part]
  return why or [timings.line(figure) for figure in part['figures']]


def table(found: Record) -> str:
  """Makes the table of a README, below a line that says of what it is."""
  parts, versions = found['parts'].values(), found['about']['versions']
  each = lambda key: list(
    dict.fromkeys(part[key] for part in parts if key in part)
  )
  installed = [f'{n} {versions[n]}' for n in _SHOWN if versions.get(n)]
  commit = found['about']['commit']
  head = '; '.join(filter(None, [
    ' and '.join(each('devices')), found['about']['machine'],
    found['about']['processor'], ', '.join(installed),
    commit and f'commit {_short(commit)}', ' and '.join(each('date')),
  ]))  # fmt: skip
  rows = [
    timings.row(figure) for part in parts for figure in part.get('figures', ())
  ]
  return '\n'.join([f'{head}.', '', *timings.HEAD, *rows, ''])


def insert(readme: pathlib.Path, made: str) -> None:
  """Puts a table between the two marks of a README.

  Raises:
    ConfigError: it lacks them.
  """
  before, after = around(readme)
  whole = f'{before}{MARKS[0]}\n\n{made}\n{MARKS[1]}{after}'
  plots.write(readme, whole.encode())


def around(readme: pathlib.Path) -> tuple[str, str]:
  """Returns what a README has before and after the two marks.

  Raises:
    ConfigError: it lacks them.
  """
  before, _, rest = readme.read_text().partition(MARKS[0])
  _, last, after = rest.partition(MARKS[1])
  if not last:
    raise errors.ConfigError(
      f'{readme} has no lines {MARKS[0]} and {MARKS[1]} to put a table between'
    )
  return before, after


def _commit() -> str | None:
  """Returns the checkout's commit, -dirty if more than documents differ."""
  found = environment.commit()
  clean, dirty, _ = (found or '').partition('-dirty')
  if not dirty:
    return found
  root = pathlib.Path(environment.__file__).parents[1]
  ask = ('diff', '--quiet', 'HEAD', '--', '.', ':(exclude)*.md')
  differs = subprocess.run(('git', '-C', root, *ask)).returncode
  return found if differs else clean


def _short(commit: str) -> str:
  """Spells the first digits of a commit, and whether files differ from it."""
  digits, *marks = commit.split('-')
  return '-'.join([digits[:_DIGITS], *marks])


def _kept(file: pathlib.Path, described: Record) -> Record:
  """Returns what is there already, or that nothing is."""
  if not file.exists():
    return {'about': described, 'parts': {}}
  found = configs.load(file)
  differing = configs.differences(found.get('about'), described, 'about')
  if differing:
    keys = ', '.join(line.partition(':')[0] for line in differing)
    raise errors.ConfigError(
      f'{file} has figures of something else ({keys} differ): use another --out'
    )
  return found


def _write(out: pathlib.Path, found: Record) -> None:
  text = json.dumps(found, indent=1, allow_nan=False) + '\n'
  plots.write(out / FILE, text.encode())
  plots.write(out / TABLE, table(found).encode())
