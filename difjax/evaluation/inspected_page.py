"""What was measured of a data set, as text, as JSON and as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from difjax.data import source as sources
from difjax.evaluation import inspected, plots

_MOST = 10  # shapes that are listed
_SHOWN, _COLUMNS = 64, 16  # images in the picture


def text(measured: inspected.Measured) -> str:
  """Returns what was found, and the settings with their rules, as tables."""
  lines = _aligned(_rows(measured))
  lines += ['', 'settings, for pixels in [-1, 1]:']
  lines += _aligned([
    (setting.argument, f'{setting.value:.4g}', setting.rule)
    for setting in inspected.proposed(measured)
  ])
  return '\n'.join(lines)


def as_dict(measured: inspected.Measured) -> dict[str, Any]:
  """Returns everything as numbers, strings and lists, ready for JSON."""
  apart = measured.distances
  return {
    'total': measured.total,
    'count': measured.count,
    'shapes': [[*shape, many] for shape, many in measured.shapes.items()],
    'labels': {str(label): n for label, n in measured.labels.items()},
    'class_names': list(measured.class_names),
    'channel_mean': measured.mean.tolist(),
    'channel_std': measured.channel_std.tolist(),
    'std': measured.std,
    'std_centred': measured.std_centred,
    'duplicates': measured.duplicates,
    'distances': None if apart is None else {
      'count': apart.count,
      'exact': measured.exact,
      'largest': apart.largest,
      'nearest_least': float(apart.nearest.min()),
      'nearest_median': float(np.median(apart.nearest)),
    },
    'levels': measured.levels.tolist(),
    'settings': [s._asdict() for s in inspected.proposed(measured)],
  }  # fmt: skip


def pictures(
  measured: inspected.Measured, source: sources.Source
) -> dict[str, bytes]:
  """Returns PNG files: images, how often levels are, nearest distances."""
  names = _channels(len(measured.levels))
  shares = measured.levels / measured.levels.sum(axis=1, keepdims=True)
  found = {
    'levels': plots.steps(
      dict(zip(names, shares, strict=True)), np.arange(257) - 0.5,
      x='level of a pixel', y='share of pixels',
    )
  }  # fmt: skip
  if len(measured.shapes) == 1:
    images = source.take(measured.indices[:_SHOWN])['image']
    columns = max(1, min(_COLUMNS, plots.PAGE // max(72, images.shape[2])))
    found['images'] = plots.png(plots.grid(images, columns))
  if measured.distances is not None:
    found['distances'] = plots.histogram(
      {'images': measured.distances.nearest},
      x='distance to the nearest other image, pixels in [-1, 1]',
    )
  return found


def _rows(measured: inspected.Measured) -> list[tuple[str, str]]:
  """Names and values of what was measured."""
  of = '' if measured.count == measured.total else f' of {measured.total:,}'
  shapes = [
    f'{" x ".join(map(str, shape))} ({many:,})'
    for shape, many in measured.shapes.items()
  ]
  more = f' and {len(shapes) - _MOST} more' if len(shapes) > _MOST else ''
  rows = [
    ('images', f'{measured.count:,}{of}'),
    ('height x width x channels', ', '.join(shapes[:_MOST]) + more),
    ('classes', _classes(measured)),
  ]
  moments = zip(
    _channels(len(measured.levels)), measured.mean, measured.channel_std,
    strict=True,
  )  # fmt: skip
  rows += [
    (f'{name}, mean and std', f'{mean:+.4f}  {std:.4f}')
    for name, mean, std in moments
  ]
  rows.append(('std of all pixels', f'{measured.std:.4f}'))
  if measured.std_centred is not None:
    value = f'{measured.std_centred:.4f}'
    rows.append(('std about the mean image', value))
  rows.append(('copies of earlier images', f'{measured.duplicates:,}'))
  return rows + _distances(measured)


def _distances(measured: inspected.Measured) -> list[tuple[str, str]]:
  apart = measured.distances
  if apart is None:
    return [('distances', 'none: images differ in size, or are all equal')]
  whole = 'all distinct images' if measured.exact else (
    f'a sample of {apart.count:,}: the largest is a lower bound, the nearest '
    'an upper one'
  )
  return [
    ('distances are of', whole),
    ('largest distance', f'{apart.largest:.4f}'),
    ('least distance', f'{apart.nearest.min():.4f}'),
    ('nearest image, median', f'{np.median(apart.nearest):.4f}'),
  ]


def _classes(measured: inspected.Measured) -> str:
  """Says how many classes there are and how evenly they are filled."""
  if not measured.labels:
    return 'none'
  least, most = (
    f(measured.labels, key=measured.labels.get) for f in (min, max)
  )
  named = dict(enumerate(measured.class_names))
  shown = ', '.join(
    f'{word} {named.get(label, label)} ({measured.labels[label]:,})'
    for word, label in (('fewest', least), ('most', most))
  )
  return f'{len(measured.labels)}: {shown}'


def _channels(count: int) -> tuple[str, ...]:
  """Names of the channels."""
  numbered = tuple(f'channel {i}' for i in range(count))
  return {1: ('grey',), 3: ('red', 'green', 'blue')}.get(count, numbered)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
  """Lines of cells, each column as wide as its widest."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    '  '.join(f'{c:<{w}}' for c, w in zip(row, widths, strict=True)).rstrip()
    for row in rows
  ]
