"""Two cards side by side: first what differs, then which is better.

A figure is better only where nothing else than what is compared differs, and
the gap is more than chance: what two seeds make of one model has no winner, and
a figure without a deviation or an interval is said to be lower or higher. The
interval of X_infinity serves X. Three groups of differences are told apart:

  incomparable  another network, weights or way of reading images, another
                number of images, another reference; and, for the figures that
                depend on them, other seeds and sizes: no winner is called
  compared      the model, its sampler, guidance, seed and quantiser: what a
                comparison is for
  other         where files lie, dates, versions, hardware
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from difjax.evaluation import card as cards
from difjax.evaluation import figures

Difference = tuple[str, str, str]
"""The path of a fact, and what it is in the first card and in the second."""
_MOST = 60  # letters of a fact that are printed
_BARE = ' (no interval)'
# Facts by the beginning of their path; all others bar a comparison.
_OTHER = (
  'environment', 'samples.path', 'samples.kind', 'reference.path',
  'reference.kind', 'model.block', 'model.device', 'model.jax',
)  # fmt: skip
_COMPARED = ('model', 'samples.sha256')
_SEED = ('model.seed', 'model.first')  # another draw of the same images
_DRAWN = (*_SEED, 'model.evaluations', 'samples.sha256')  # and what follows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """What differs between two cards.

  Attributes:
    incomparable: what bars a comparison, at least of some figures.
    compared: what is compared.
    other: what should not matter.
  """

  incomparable: tuple[Difference, ...]
  compared: tuple[Difference, ...]
  other: tuple[Difference, ...]


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> Comparison:
  """Tells how the protocols of two cards differ."""
  found = _differences(a, b)
  other = tuple(line for line in found if _below(line[0], _OTHER))
  rest = [line for line in found if line not in other]
  compared = tuple(line for line in rest if _below(line[0], _COMPARED))
  barring = tuple(line for line in rest if line not in compared)
  return Comparison(incomparable=barring, compared=compared, other=other)


def bars(difference: Comparison, depends: Iterable[str]) -> list[str]:
  """Lists the facts whose difference bars the comparison of a figure.

  Args:
    difference: of the cards.
    depends: what the figure depends on beside the network and the count.
  """
  roots = ('network', 'samples', *depends)
  return [
    path for path, _, _ in difference.incomparable if _below(path, roots)
  ]


def text(
  a: Mapping[str, Any], b: Mapping[str, Any], titles: tuple[str, str]
) -> str:
  """Returns a comparison for people.

  Args:
    a: a card.
    b: another.
    titles: what to call them.
  """
  found = compare(a, b)
  lines = [f'A  {titles[0]}', f'B  {titles[1]}', '']
  for title, some in (
    ('this makes figures incomparable', found.incomparable),
    ('this is what is compared', found.compared),
    ('this should not matter', found.other),
  ):
    if some:
      lines.append(f'different: {title}')
      lines += [f'  {p}: {_cut(x)} -> {_cut(y)}' for p, x, y in some]
  if len(lines) == 3:
    lines.append('nothing differs in the protocols')
  names = [row.name for row in cards.shown(a) if row.name in b['figures']]
  lines += ['', *columns(
    [('figure', 'A', 'B', ''), *(_row(a, b, name, found) for name in names)]
  )]  # fmt: skip
  alone = sorted({*a['figures']} ^ {*b['figures']})
  if alone:
    lines.append(f'in one card alone: {", ".join(alone)}')
  return '\n'.join(lines)


def _row(
  a: Mapping[str, Any], b: Mapping[str, Any], name: str, found: Comparison
) -> tuple[str, str, str, str]:
  """One figure of both cards, and who is better."""
  ours, theirs = a['figures'][name], b['figures'][name]
  depends = [*ours['depends'], *theirs['depends']]
  barred = bars(found, depends)
  verdict = _winner(ours, theirs)
  if barred:
    verdict = f'not comparable: {", ".join(barred[:3])}'
  elif _by_chance(found):
    verdict = 'only the seed differs: the difference is chance'
  elif verdict.endswith(_BARE):
    verdict = _by_limit(a, b, name, found) or verdict
  shown = [f'{each["value"]:.6g}' for each in (ours, theirs)]
  return name, *shown, verdict


def _by_chance(found: Comparison) -> bool:
  """Says whether two cards are of two draws of one model's images."""
  paths = [path for path, _, _ in found.compared]
  return any(_below(path, _SEED) for path in paths) and all(
    _below(path, _DRAWN) for path in paths
  )


def _by_limit(
  a: Mapping[str, Any], b: Mapping[str, Any], name: str, found: Comparison
) -> str | None:
  """Says which figure is better by its limit for many images, if it has one."""
  limits = [card['figures'].get(f'{name}_infinity') for card in (a, b)]
  if None in limits or bars(found, [d for x in limits for d in x['depends']]):
    return None
  return f'{_winner(*limits)}, by {name}_infinity'


def _winner(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
  """Says which of two figures is better, but for what noise may have done."""
  if a['value'] == b['value']:
    return 'equal'
  first = (a['value'] < b['value']) == (a['better'] == figures.LOWER)
  title = 'A' if first else 'B'
  if all('low' in each and 'high' in each for each in (a, b)):
    if a['low'] <= b['high'] and b['low'] <= a['high']:
      return 'within the intervals'
  elif all('std' in each for each in (a, b)):
    if abs(a['value'] - b['value']) <= max(a['std'], b['std']):
      return 'within the deviation'
  else:
    return f'{title} is {a["better"]}{_BARE}'
  return f'{title} is better'


def _differences(
  a: Mapping[str, Any], b: Mapping[str, Any]
) -> list[Difference]:
  """Lists the facts that differ, by their path."""
  keys = ('network', 'samples', 'reference', 'settings', 'model', 'environment')
  one, two = ({
    path: text
    for key in keys
    for path, text in cards.flat(card[key], key).items()
  } for card in (a, b))  # fmt: skip
  for facts, card in ((one, a), (two, b)):
    if not card['model']:
      facts['model'] = cards.UNKNOWN
  absent = '(absent)'
  return [
    (path, one.get(path, absent), two.get(path, absent))
    for path in dict.fromkeys([*one, *two])
    if one.get(path, absent) != two.get(path, absent)
  ]


def _below(path: str, roots: Iterable[str]) -> bool:
  """Says whether a path is one of some, or below it."""
  return any(f'{path}.'.startswith(f'{root}.') for root in roots)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
  """Returns a line for each row, their cells below each other."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    '  '.join(
      f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True)
    ).rstrip()
    for row in rows
  ]


def _cut(text: str) -> str:
  return text if len(text) <= _MOST else f'{text[: _MOST - 3]}...'
