"""The protocol card: figures with everything that moves them, as JSON and page.

  schema       1, raised when a key changes its meaning
  figures      by name: value, better ('lower' or 'higher'), depends (what it
               depends on beside network and count), and std, or low and high
  left_out     by name: why a figure is not there
  network      title, weights_sha256, published_weights, convention, resize,
               size, zero and unit (of the input's range), rounded, clipped,
               precision
  samples      path, kind, count, shape, sha256 (of the pixels in order)
  reference    the same; of a file of statistics the sha256 is the file's, where
               it does not say of which pixels it is, and its network is
               unknown, where it does not say that either
  settings     kernel, overlap, limit: sizes and seeds of those figures
  model        of images that difjax drew: parameters and objective (their
               digests), step, ema, sampler, guidance, evaluations, quantiser,
               seed, first, labels, block, device; {} where another tool made
               them
  environment  date, device, machine, versions, commit

Keys are sorted and every number is finite, so that cards can be kept in git.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from difjax import config as configs
from difjax import environment, errors, metrics
from difjax.evaluation import (
  feature_nets,
  figures,
  image_set,
  plots,
  references,
  report,
)

FILE, PAGE = 'card.json', 'card.html'
SCHEMA = 1
UNKNOWN = 'unknown (not made by difjax)'
_PARTS = (
  'figures', 'left_out', 'network', 'samples', 'reference', 'settings', 'model',
  'environment',
)  # fmt: skip
# Which move no figure; a reference of statistics lacks some that images have.
_PLACES = frozenset({'samples.path', 'samples.kind', 'reference.path'})
_NUMBERS = ('value', 'std', 'low', 'high')
_OVERLAP = frozenset(
  field.name for field in dataclasses.fields(metrics.Overlap)
)
_PROTOCOL = ('network', 'samples', 'reference', 'settings', 'model')


class Shown(NamedTuple):
  """How a figure reads: its value, and its deviation or interval."""

  name: str
  value: str
  beside: str


def protocol(
  samples: image_set.ImageSet,
  reference: references.Reference,
  net: feature_nets.Net,
  how: figures.Figures,
) -> dict[str, Any]:
  """Returns all of a card but what comes out.

  Args:
    samples: what is judged; its pixels are read, for their sha256.
    reference: what it is compared with.
    net: the feature network.
    how: the figures' conventions.
  """
  return _plain({
    'schema': SCHEMA,
    'network': net.facts,
    'samples': references.image_facts(samples),
    'reference': reference.facts,
    'settings': how.facts,
    'model': samples.protocol or {},
  })


def fill(told: Mapping[str, Any], found: figures.Found) -> dict[str, Any]:
  """Returns the card of a protocol with what came out.

  Raises:
    NonFiniteError: a figure is no number.
  """
  for name, figure in found.figures.items():
    if not all(map(math.isfinite, (figure.value, *figure.beside.values()))):
      raise errors.NonFiniteError(f'{name} is {figure.value}')
  return _plain({
    **told,
    'figures': {
      name: {
        'value': each.value, 'better': each.better,
        'depends': list(each.depends), **each.beside,
      }
      for name, each in found.figures.items()
    },
    'left_out': found.left_out,
    'environment': {
      'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
      'device': environment.devices(),
      'machine': environment.machine(),
      'versions': environment.versions(),
      'commit': environment.commit(),
    },
  })  # fmt: skip


def same(told: Mapping[str, Any], card: Mapping[str, Any]) -> bool:
  """Says whether a card is of a protocol, wherever its files lie."""
  return _located(told) == _located(card)


def write(folder: pathlib.Path, card: Mapping[str, Any]) -> None:
  """Writes FOLDER/card.json and FOLDER/card.html, each whole or not at all."""
  plots.write(folder / PAGE, page(card).encode())
  text = json.dumps(card, indent=1, sort_keys=True, allow_nan=False) + '\n'
  plots.write(folder / FILE, text.encode())


def read(path: str | pathlib.Path) -> dict[str, Any]:
  """Reads a card.

  Args:
    path: of it or of its folder.

  Raises:
    DataError: there is none, or it is malformed.
  """
  place = pathlib.Path(path)
  place = place / FILE if place.is_dir() else place
  try:
    card = configs.load(place)
  except errors.ConfigError as error:
    if place.exists():
      raise errors.DataError(str(error)) from None
    raise errors.DataError(
      f'{place} is not there: make it by difjax evaluate --samples=... '
      '--reference=... --out=...'
    ) from None
  if card.get('schema') != SCHEMA:
    raise errors.DataError(
      f'{place} is no card of schema {SCHEMA}: make it anew'
    )
  odd = [key for key in _PARTS if not isinstance(card.get(key), dict)]
  if odd:
    raise errors.DataError(f'{place} lacks {odd[0]}: make it anew')
  if not _is_finite(card['samples'].get('count')) or not all(
    map(_is_figure, card['figures'].values())
  ):
    raise errors.DataError(
      f'{place} has a figure without value, better and depends, or no count of '
      'images: make it anew'
    )
  return card


def _is_figure(found: Any) -> bool:
  return (
    isinstance(found, dict)
    and all(map(_is_finite, (found[key] for key in _NUMBERS if key in found)))
    and 'value' in found
    and found.get('better') in (figures.LOWER, figures.HIGHER)
    and isinstance(found.get('depends'), list)
  )


def _is_finite(value: Any) -> bool:
  return type(value) in (int, float) and math.isfinite(value)


def shown(card: Mapping[str, Any]) -> list[Shown]:
  """Returns how the figures read, in their order of importance."""
  order = list(card['figures'])
  order.sort(key=lambda name: (
    name.endswith('_infinity'), name in _OVERLAP,
    card['figures'][name]['better'] == figures.HIGHER,
  ))  # fmt: skip
  return [Shown(name, *_read(card['figures'][name])) for name in order]


def _read(figure: Mapping[str, Any]) -> tuple[str, str]:
  beside = ''
  if 'std' in figure:
    beside = f'± {figure["std"]:.3g}'
  if 'low' in figure:
    beside = f'{figure["low"]:.6g} to {figure["high"]:.6g}'
  return f'{figure["value"]:.6g}', beside


def table(card: Mapping[str, Any]) -> str:
  """Returns the figures as lines of text, and what was left out."""
  rows = shown(card)
  width = max((len(row.name) for row in rows), default=0)
  lines = [f'{row.name:<{width}}  {row.value}  {row.beside}' for row in rows]
  lines += [
    f'left out: {name}: {why}' for name, why in card['left_out'].items()
  ]
  return '\n'.join(line.rstrip() for line in lines)


def flat(part: Any, path: str = '') -> dict[str, str]:
  """Returns the leaves of a card's part by their path."""
  if isinstance(part, Mapping) and part:
    return {
      name: text
      for key in part
      for name, text in flat(part[key], f'{path}.{key}'.lstrip('.')).items()
    }
  return {path: part if isinstance(part, str) else json.dumps(part)}


def page(card: Mapping[str, Any]) -> str:
  """Returns the card as one HTML document."""
  rows = [tuple(row) for row in shown(card)]
  left = '; '.join(f'{name}: {why}' for name, why in card['left_out'].items())
  sections = [report.Section(
    title='Figures',
    table=report.Table(header=('figure', 'value', 'beside'), rows=rows),
    caption=f'Left out: {left}.' if left else '',
  )]  # fmt: skip
  for key in (*_PROTOCOL, 'environment'):
    found = [(name, text) for name, text in flat(card[key]).items() if name]
    sections.append(report.Section(
      title=key.capitalize(),
      text='' if found else f'{UNKNOWN.capitalize()}.',
      table=(
        report.Table(header=('', ''), rows=[(n, _cut(t)) for n, t in found])
        if found else None
      ),
    ))  # fmt: skip
  text = json.dumps(card, indent=1, sort_keys=True)
  sections.append(report.Section(
    title='As JSON', details=[report.Details(summary=FILE, text=text)]
  ))  # fmt: skip
  facts = {name: value for name, value, _ in rows[:4]}
  subtitle = (
    f'{card["samples"]["count"]:,} images against '
    f'{card["reference"].get("path")}, by {card["network"].get("title")}'
  )
  return report.render('Evaluation', subtitle, sections, facts)


def _cut(text: str) -> str:
  """Keeps a cell of the table short; the JSON has the whole."""
  return text if len(text) <= 64 else f'{text[:61]}...'


def _located(card: Mapping[str, Any]) -> dict[str, str]:
  """The leaves of a protocol without where its files lie."""
  leaves = flat({key: card[key] for key in _PROTOCOL})
  return {path: leaves[path] for path in leaves if path not in _PLACES}


def _plain(value: Any) -> Any:
  """Returns a value as it is when read back."""
  return json.loads(json.dumps(value, sort_keys=True, allow_nan=False))
