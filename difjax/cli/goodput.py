"""difjax goodput: says where the time of a run went.

  difjax goodput --workdir=runs/digits
  difjax goodput --workdir=runs/digits --json

flags:
  --workdir=DIR         of the run
  --json                print JSON instead of lines

Productive are the steps that count; wasted those that a later start did again.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from absl import flags

from difjax import errors
from difjax.cli import arguments


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  flags.DEFINE_boolean('json', False, '', flag_values=values)


def main(argv: list[str]) -> int:
  """Prints the account; returns the exit code."""
  values = arguments.parse(argv, _define, __doc__)
  if values.workdir is None:
    raise errors.ConfigError('goodput needs --workdir=DIR')

  from difjax.training import events, goodput  # imports jax: flags are fine

  rows = events.read(pathlib.Path(values.workdir))
  if not rows:
    raise errors.ConfigError(f'{values.workdir} has no events.jsonl to add up')
  found = goodput.measure(rows)
  if values.json:
    whole = dataclasses.asdict(found)
    whole |= {'share': found.share, 'remainder': found.remainder}
    print(json.dumps(whole, indent=1))
  else:
    print(goodput.text(found))
  return 0
