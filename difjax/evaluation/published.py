"""Published figures with their protocol, and ours beside them.

A figure is reproduced where the protocol is that of the paper and the value
lies in the spread that is stated: by the authors, or by others who ran the same
again. With another number of images, other weights, another way of reading
images or another reference nothing of the kind can be said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from difjax.evaluation import card as cards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """What a paper or its authors' repository states of a config.

  Attributes:
    figures: by the names that cards have, such as fid.
    source: where they are stated.
    spread: lowest and highest value by figure that runs of the same have had.
    count: images that were sampled.
    reference: what they were compared with.
    reference_count: images of that; None where it is not stated.
    convention: of reading images: a name of `metrics.resize.CONVENTIONS`.
    quantiser: of rounding samples: a name of `evaluation.quantisers`.
    evaluations: of the network, for an image; None where it is not stated.
    guided: whether something led the model.
  """

  figures: Mapping[str, float]
  source: str
  spread: Mapping[str, tuple[float, float]] = dataclasses.field(
    default_factory=dict
  )
  count: int = 50_000
  reference: str = ''
  reference_count: int | None = None
  convention: str = 'tensorflow'
  quantiser: str = 'edm'
  evaluations: int | None = None
  guided: bool = False


class Difference(NamedTuple):
  """A fact of the protocol, as it was published and here."""

  fact: str
  theirs: str
  ours: str


def differences(
  published: Published, card: Mapping[str, Any]
) -> list[Difference]:
  """Lists what differs between a published protocol and that of a card."""
  net, model = card['network'], card['model']
  evaluations = (model.get('evaluations') or {}).get('mean')
  facts = (
    ('images', published.count, card['samples']['count']),
    ('published weights', True, bool(net.get('published_weights'))),
    ('convention', published.convention, net.get('convention')),
    (
      'images of the reference', published.reference_count,
      card['reference'].get('count'),
    ),
    ('evaluations', published.evaluations, evaluations),
    ('quantiser', published.quantiser, model.get('quantiser')),
    ('guidance', published.guided, bool(model.get('guidance'))),
  )  # fmt: skip
  return [
    Difference(fact, _said(theirs), _said(ours))
    for fact, theirs, ours in facts
    if theirs is not None and theirs != ours
  ]


def verdict(
  published: Published, card: Mapping[str, Any], name: str
) -> str:
  """Says in words whether a published figure is met.

  Args:
    published: the row.
    card: ours.
    name: of the figure.
  """
  if name not in card['figures']:
    others = ', '.join(row.name for row in cards.shown(card)[:2])
    return f'not measured here (but {others})' if others else 'not measured'
  if differences(published, card):
    return 'cannot be said: the protocol is another'
  if name not in published.spread:
    return 'cannot be said: no spread is stated'
  low, high = published.spread[name]
  value = card['figures'][name]['value']
  if low <= value <= high:
    return 'within the stated spread'
  return f'{"below" if value < low else "above"} the stated spread'


def text(published: Published, card: Mapping[str, Any]) -> str:
  """Returns a published row and ours for people."""
  lines = [f'published: {published.source}', '']
  for name, value in published.figures.items():
    ours = card['figures'].get(name, {}).get('value')
    spread = published.spread.get(name)
    stated = f' ({spread[0]:g} to {spread[1]:g})' if spread else ''
    found = 'none' if ours is None else f'{ours:.6g}'
    lines.append(f'{name}  published {value:g}{stated}  ours {found}')
    lines.append(f'  {verdict(published, card, name)}')
  some = differences(published, card)
  lines += ['', f'differences in protocol: {len(some) or "none known"}']
  lines += [f'  {d.fact}: published {d.theirs}, here {d.ours}' for d in some]
  if published.reference:
    path = card['reference'].get('path')
    lines.append(f'reference: published {published.reference}; here {path}')
  return '\n'.join([*lines, '', cards.table(card)])


def _said(value: Any) -> str:
  """A fact in words."""
  if value is None:
    return 'unknown'
  return f'{value:,}' if type(value) in (int, float) else str(value)
