"""Where the time of a run went, from `events.jsonl`.

The time from the first attempt's beginning to the last row is the sum of

  productive    steps that count
  wasted        steps that a later attempt did again
  compile, restore, init, data, save, hooks    phases of `events`
  down          between two attempts, with what a kill left unwritten

and of a remainder, which is printed: it should be none. An attempt that goes
on from step s makes the steps above s of earlier attempts wasted; the time of a
row's steps is divided evenly among them.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from difjax import errors
from difjax.training import events

Phase = events.Phase
_PHASES = tuple(phase for phase in Phase if phase is not Phase.STEP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goodput:
  """Where the time went.

  Attributes:
    wall: seconds from the beginning to the last row.
    parts: seconds by what they went to; with `remainder` they sum to `wall`.
    steps: steps that count.
    wasted_steps: that were done again.
    exits: exit codes of the attempts, None for those that were killed, and for
      the last one while it runs.
    save_share: seconds that saves blocked over those of steps.
    p50: median seconds of a step with its data.
    p99: the same, of one step in a hundred.
  """

  wall: float
  parts: dict[str, float]
  steps: int
  wasted_steps: int
  exits: tuple[int | None, ...]
  save_share: float
  p50: float
  p99: float

  @property
  def remainder(self) -> float:
    """Seconds that no part explains."""
    return self.wall - sum(self.parts.values())

  @property
  def share(self) -> float:
    """The productive part of the whole."""
    return self.parts['productive'] / max(self.wall, 1e-9)


def measure(rows: Sequence[events.Row]) -> Goodput:
  """Adds rows of `events.read` up.

  Raises:
    DataError: there are none.
  """
  attempts = _attempts(rows)
  if not attempts:
    raise errors.DataError('events.jsonl holds no attempt: nothing was trained')
  parts = dict.fromkeys(('productive', 'wasted', 'down', *_PHASES), 0.0)
  bins: collections.Counter[str] = collections.Counter()
  wasted_steps = 0
  limit = math.inf  # steps above it are done again by a later attempt
  for attempt in reversed(attempts):
    for before, row in zip([attempt[0], *attempt], attempt, strict=False):
      spent = row.get('seconds', {})
      for phase in _PHASES:
        parts[phase] += spent.get(phase, 0.0)
      again, share = _wasted(before, row, limit)
      wasted_steps += again
      parts['wasted'] += share * spent.get(Phase.STEP, 0.0)
      parts['productive'] += (1 - share) * spent.get(Phase.STEP, 0.0)
      bins.update(row.get('bins', {}))
    limit = min([limit, *(row['from'] for row in attempt if 'from' in row)])
  for earlier, later in itertools.pairwise(attempts):
    parts['down'] += later[0]['began'] - earlier[-1]['time']
  steps = parts['productive'] + parts['wasted']
  return Goodput(
    wall=attempts[-1][-1]['time'] - attempts[0][0]['began'],
    parts=parts,
    steps=_reached(attempts),
    wasted_steps=wasted_steps,
    exits=tuple(attempt[-1].get('code') for attempt in attempts),
    save_share=parts[Phase.SAVE] / max(steps, 1e-9),
    p50=_quantile(bins, 0.5),
    p99=_quantile(bins, 0.99),
  )


def text(found: Goodput) -> str:
  """Describes a measurement in lines."""
  lines = [
    f'productive {found.share:.1%} of {found.wall:,.1f} s',
    f'steps      {found.steps:,}, {found.wasted_steps:,} more were done again',
    f'attempts   {len(found.exits)}, '
    f'exit codes {", ".join(_codes(found.exits))}',
    f'step       {1e3 * found.p50:,.1f} ms median, {1e3 * found.p99:,.1f} ms '
    'at 99 % (with its data)',
    f'saves      block {found.save_share:.2%} of the time of steps',
    '',
  ]
  parts = {**found.parts, 'remainder': found.remainder}
  for name, seconds in parts.items():
    share = seconds / max(found.wall, 1e-9)
    lines.append(f'{name:<10} {seconds:>12,.2f} s {share:>7.1%}')
  return '\n'.join(lines)


def _wasted(
  before: events.Row, row: events.Row, limit: float
) -> tuple[int, float]:
  """Returns how many of a row's steps are done again, and their share."""
  first, last = before['step'], row['step']
  if 'from' in row:  # no steps, but where they begin
    first = last
  again = int(max(last - max(first, limit), 0))
  if last > first:
    return again, again / (last - first)
  return 0, float(last > limit)


def _reached(attempts: Sequence[Sequence[events.Row]]) -> int:
  """Returns the last step of the newest attempt that made any."""
  for attempt in reversed(attempts):
    if any('from' in row for row in attempt):
      return attempt[-1]['step']
  return 0


def _quantile(bins: Mapping[str, int], share: float) -> float:
  """Returns the step time below which that share of the steps is."""
  left = share * sum(bins.values())
  for key in sorted(bins, key=int):
    left -= bins[key]
    if left <= 0:
      return events.seconds_of(key)
  return math.nan


def _codes(exits: Sequence[int | None]) -> list[str]:
  names = ['killed' if code is None else str(code) for code in exits]
  if exits[-1] is None:
    names[-1] = 'running or killed'
  return names


def _attempts(rows: Sequence[events.Row]) -> list[list[events.Row]]:
  """Cuts rows at the starts; what stands before the first is dropped."""
  found: list[list[events.Row]] = []
  for row in rows:
    if 'began' in row:
      found.append([])
    if found:
      found[-1].append(row)
  return found
