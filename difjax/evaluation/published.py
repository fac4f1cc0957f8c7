"""Published figures with their protocol, and ours beside them.

A value is compared with the spread that is stated, by the authors or by others
who ran the same again, where nothing that is known of the protocol differs: the
number of images, the feature network's weights and its way of reading images,
how many images the reference has, the sampler with its evaluations, guidance,
the average of the parameters, the quantiser. What a card does not know is said
and bars nothing. Which images the reference has, and whose parameters were
sampled, is not checked: `text` names the reference beside the published one.
"""

from __future__ import annotations

import dataclasses
import json
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
    ema: which average of the parameters was sampled.
    sampler: spec of how; None where only `evaluations` are to be compared.
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
  ema: str = 'main'
  sampler: Mapping[str, Any] | None = None


class Difference(NamedTuple):
  """A fact of the protocol, as it was published and here.

  Attributes:
    fact: what it is called.
    theirs: as published.
    ours: as it is here.
    known: whether that is known here.
  """

  fact: str
  theirs: str
  ours: str
  known: bool


def differences(
  published: Published, card: Mapping[str, Any]
) -> list[Difference]:
  """Lists what differs between a published protocol and that of a card.

  What is published and not known here is listed too.
  """
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
    ('ema', published.ema, model.get('ema')),
    *_of_sampler(published.sampler, model.get('sampler')),
  )  # fmt: skip
  return [
    Difference(fact, _said(theirs), _said(ours), ours is not None)
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
  if any(each.known for each in differences(published, card)):
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
  count = sum(each.known for each in some)
  lines += ['', f'differences in protocol: {count or "none known"}']
  lines += [f'  {d.fact}: published {d.theirs}, here {d.ours}' for d in some]
  if published.reference:
    path = card['reference'].get('path')
    lines.append(f'reference: published {published.reference}; here {path}')
  return '\n'.join([*lines, '', cards.table(card)])


def _of_sampler(
  theirs: Mapping[str, Any] | None, ours: Mapping[str, Any] | None
) -> list[tuple[str, str | None, str | None]]:
  """Lists the arguments of two samplers, as JSON has them, by their path."""
  if theirs is None or ours is None:
    return []
  plain = json.loads(json.dumps(theirs, sort_keys=True))
  theirs, ours = cards.flat(plain, 'sampler'), cards.flat(ours, 'sampler')
  return [
    (path, theirs.get(path, 'nothing'), ours.get(path, 'nothing'))
    for path in sorted({*theirs, *ours})
  ]


def _said(value: Any) -> str:
  """A fact in words."""
  if value is None:
    return 'unknown'
  if not value and type(value) is str:
    return 'none'
  return f'{value:,}' if type(value) in (int, float) else str(value)
