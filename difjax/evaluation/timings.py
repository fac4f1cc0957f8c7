"""What a benchmark finds: values of rounds, and the line and row made of them.

A ratio is that of one round, both sides of which ran one after the other, so
that a busy machine hurts them alike,

  ratio = theirs / ours  of times,     ours / theirs  of rates,          (1)

so above 1 ours is the faster one; what stands beside it may be difjax as well,
computing in another way. Medians over the rounds are told, with their
range.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Record = dict[str, Any]  # plain data, as in a JSON file
HEAD = (
  '| what | measured | beside it | ratio, above 1: the left one is faster |',
  '|---|---|---|---|',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
  """One thing that was measured.

  Attributes:
    name: what.
    unit: of the values.
    ours: a value a round.
    beside: what it stands beside; None: nothing.
    theirs: its values in the same rounds.
    rate: whether more is better, as of images a second.
    note: what else is to be known, such as why nothing stands beside it.
  """

  name: str
  unit: str
  ours: Sequence[float]
  beside: str | None = None
  theirs: Sequence[float] = ()
  rate: bool = False
  note: str = ''

  def record(self) -> Record:
    """Returns it as plain data, with medians, ranges and ratios (1)."""
    record = {
      'name': self.name, 'unit': self.unit, 'note': self.note,
      'ours': _spread(self.ours), 'beside': self.beside,
    }  # fmt: skip
    if self.beside is not None:
      pairs = zip(self.ours, self.theirs, strict=True)
      record['theirs'] = _spread(self.theirs)
      record['ratio'] = _spread(
        [o / t if self.rate else t / o for o, t in pairs]
      )
    return record


class Benchmark(Protocol):
  """Something to measure; subclass it and fill in `measure`."""

  def unsuited(self) -> str | None:
    """Says in a line why it cannot be measured here, if it cannot."""
    return None

  def measure(self, rounds: int) -> list[Figure]:
    """Measures.

    Args:
      rounds: of each side, in turn; what compiles before does not count.
    """
    raise NotImplementedError


def line(record: Record) -> str:
  """Returns a figure's record as a line for somebody who waits for it."""
  ours, beside, ratio = _cells(record)
  told = filter(None, [ours, beside, ratio and f'x {ratio}'])
  return f'{record["name"]}: {"; ".join(told)}'


def row(record: Record) -> str:
  """Returns a figure's record as a row below `HEAD`."""
  return f'| {" | ".join([record["name"], *_cells(record)])} |'


def _cells(record: Record) -> tuple[str, str, str]:
  """Spells ours, what it stands beside with what is to be known, the ratio."""
  ours, unit, note = record['ours'], record['unit'], record['note']
  if record['beside'] is None:
    return f'{_ranged(ours)} {unit}', note, ''
  median = lambda spread: f'{_short(spread["median"])} {unit}'
  beside = f'{record["beside"]}: {median(record["theirs"])}'
  return (
    median(ours), '; '.join(filter(None, [beside, note])),
    _ranged(record['ratio']),
  )  # fmt: skip


def _spread(values: Sequence[float]) -> dict[str, Any]:
  """Returns the median, the range and the values themselves."""
  return {
    'median': statistics.median(values),
    'range': [min(values), max(values)],
    'rounds': list(values),
  }


def _ranged(spread: Mapping[str, Any]) -> str:
  """Spells a median with its range: 1.12 (1.10 to 1.16)."""
  low, high = map(_short, spread['range'])
  return f'{_short(spread["median"])} ({low} to {high})'


def _short(value: float) -> str:
  """Spells three digits of a number, all whole ones above a thousand."""
  rounded = float(f'{value:.3g}')
  if abs(rounded) >= 1e3:
    return f'{value:,.0f}'
  return f'{rounded:#.3g}'.rstrip('.')
