"""From a set of images and a reference to a card in a folder."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from difjax import errors, metrics
from difjax.evaluation import card as cards
from difjax.evaluation import (
  feature_nets,
  figures,
  gathered,
  image_set,
  references,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
  """What images are judged by: a network, a reference, conventions.

  A judge may be used for many sets: the features of the reference are computed
  when they are needed first, and once.

  Attributes:
    net: the feature network, loaded.
    reference: what images are compared with.
    how: conventions of the figures.
  """

  net: feature_nets.Net
  reference: references.Reference
  how: figures.Figures = figures.Figures()

  @property
  def title(self) -> str:
    """What the distance is called."""
    return self.net.names.distance

  def found(self, images: image_set.ImageSet) -> figures.Found:
    """Computes the figures of a set."""
    real = self.real
    made = gathered.gather(images, self.net, 'samples')
    return figures.measure(made, real, self.net.names, self.how)

  @functools.cached_property
  def real(self) -> figures.Statistics:
    """Statistics of the reference."""
    return self.reference.compute(self.net)


def check_reference(path: str, *others: str) -> None:
  """Refuses a reference that is not there, before its pixels are read.

  Args:
    path: of images or statistics.
    *others: suffixes of files that hold neither.

  Raises:
    DataError: it is not there, or cannot be one.
  """
  place = pathlib.Path(path)
  if not place.is_file() or place.suffix.lower() not in ('.npz', *others):
    image_set.read(place)


def check_save(path: str) -> None:
  """Refuses a file for statistics that is another one already.

  Raises:
    ConfigError: it is no .npz, or is there and holds no statistics of ours.
  """
  if not path.endswith('.npz'):
    raise errors.ConfigError(f'--save_statistics={path}: end it in .npz')
  if pathlib.Path(path).exists() and not _noted(path):
    raise _is_there(path)


def saved(
  path: str, reference: references.Reference, net: feature_nets.Net
) -> references.Reference:
  """Saves the statistics of a reference, unless they are there already.

  Args:
    path: an .npz.
    reference: a set of images.
    net: the network.

  Returns:
    The reference, which computes nothing twice.

  Raises:
    ConfigError: the reference is statistics already, or the file holds
      something else.
  """
  if reference.images is None:
    raise errors.ConfigError(
      f'{reference.facts["path"]} holds statistics already: leave '
      '--save_statistics out'
    )
  check_save(path)
  if not pathlib.Path(path).exists():
    found = references.write(path, reference.images, net)
    return dataclasses.replace(reference, compute=lambda net: found)
  noted = _noted(path)
  pixels, facts = reference.facts['sha256'], json.dumps(net.facts)
  if noted['images'].get('sha256') != pixels or (
    noted['network'] != json.loads(facts)
  ):
    raise _is_there(path)
  return reference


def _noted(path: str) -> dict[str, Any]:
  """Returns what we have noted in a file of statistics; {} of another file."""
  try:
    noted = json.loads(metrics.read_reference(path).about)
  except (errors.DataError, ValueError):
    return {}
  whole = isinstance(noted, dict) and all(
    isinstance(noted.get(key), dict) for key in ('images', 'network')
  )
  return noted if whole else {}


def _is_there(path: str) -> errors.ConfigError:
  return errors.ConfigError(
    f'--save_statistics={path} is there, and no statistics of these images on '
    'this network: use another name, or remove it'
  )


def score(
  by: Judge, samples: image_set.ImageSet, out: pathlib.Path | None = None
) -> Mapping[str, Any]:
  """Judges a set and writes its card, or finds it as it was written.

  Args:
    by: a judge.
    samples: the set.
    out: folder of the card; None for none.

  Returns:
    The card.

  Raises:
    DataError: an image or the reference is malformed.
    ConfigError: the folder holds a card of another protocol.
  """
  told = lambda: cards.protocol(samples, by.reference, by.net, by.how)
  if out is not None and (out / cards.FILE).exists():
    known = cards.read(out)
    if cards.same(told(), known):
      return known
    raise errors.ConfigError(
      f'{out / cards.FILE} is of another protocol: use another --out, or '
      'remove it'
    )
  found = by.found(samples)  # whose reading gives the protocol its digests
  card = cards.fill(told(), found)
  if out is not None:
    cards.write(out, card)
  return card
