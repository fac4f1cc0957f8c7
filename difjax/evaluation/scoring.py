"""From a set of images and a reference to a card in a folder."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from difjax import errors
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


def judge(
  network: feature_nets.Network,
  reference: references.Reference,
  how: figures.Figures,
  save: str | None = None,
) -> Judge:
  """Loads what images are judged by.

  Args:
    network: what to load.
    reference: what images are compared with.
    how: conventions of the figures.
    save: a new .npz for the statistics of the reference; None for none.

  Raises:
    ConfigError: the reference is statistics already, or `save` is no .npz.
    DataError: the network's weights are not there.
  """
  if save is not None:
    if reference.images is None:
      raise errors.ConfigError(
        f'{reference.facts["path"]} holds statistics already: leave '
        '--save_statistics out'
      )
    if not save.endswith('.npz'):
      raise errors.ConfigError(f'--save_statistics={save}: end it in .npz')
  net = network.load()
  if save is not None:
    saved = references.write(save, reference.images, net)
    reference = dataclasses.replace(reference, compute=lambda net: saved)
  return Judge(net=net, reference=reference, how=how)


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
  told = cards.protocol(samples, by.reference, by.net, by.how)
  if out is not None and (out / cards.FILE).exists():
    known = cards.read(out)
    if cards.same(told, known):
      return known
    raise errors.ConfigError(
      f'{out / cards.FILE} is of another protocol: use another --out, or '
      'remove it'
    )
  card = cards.fill(told, by.found(samples))
  if out is not None:
    cards.write(out, card)
  return card
