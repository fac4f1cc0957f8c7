"""Does a model repeat its training images? The figures, and what they are of.

Every figure of samples stands beside that of as many held-out real images: real
sets have near duplicates too, and plain images are near to any. What is held
against a model is only what they do not explain (`metrics.memorised`).
Distances are between pixels in [-1, 1] and, where they are given, between the
features of a network, which also sees copies that are shifted or recoloured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from difjax import errors, metrics
from difjax.data import source as sources
from difjax.evaluation import (
  baselines,
  distribution,
  feature_nets,
  parts,
  plots,
  trained,
)
from difjax.sampling import samplers

_PIXELS, _FEATURES = 'pixels', 'features'


class Side(NamedTuple):
  """Images that are asked where their nearest training images are.

  Attributes:
    indices: [N], of the samples or in the source of held-out images.
    images: uint8 [N, H, W, C].
    tables: their neighbours, by what the distance is between.
    extraction: which training images they repeat pixel by pixel.
  """

  indices: np.ndarray
  images: np.ndarray
  tables: Mapping[str, metrics.Neighbours]
  extraction: metrics.Extraction

  @property
  def figures(self) -> dict[str, int]:
    """How many repeat a training image, and how many of those they repeat."""
    return {
      'extracting': len(self.extraction.samples),
      'extracted': len(self.extraction.images),
    }

  def arrays(self) -> dict[str, np.ndarray]:
    """A row an image: neighbours, distances, ratios, and what it repeats."""
    found = {
      'index': self.indices,
      'extraction_nearest': self.extraction.indices,
      'extraction_distance': self.extraction.distances,
    }
    for space, table in self.tables.items():
      found |= {
        f'{space}_nearest': table.indices,
        f'{space}_distances': table.distances,
        f'{space}_ratio': table.ratios,
        f'{space}_authentic': table.authentic,
      }
    return found


class Inquiry(NamedTuple):
  """What was found of a model.

  Attributes:
    samples: of the model.
    held_out: real images, as many as there are samples or all that there are.
    train: uint8 [T, H, W, C], what neighbours are indices of.
    verdicts: by what the distance is between.
    evaluations: of the network for a sample, in the mean.
    seconds: of the sampling.
  """

  samples: Side
  held_out: Side
  train: np.ndarray
  verdicts: Mapping[str, metrics.Memorisation]
  evaluations: float
  seconds: float

  @property
  def flagged(self) -> bool:
    """Whether samples are copies by any of the distances."""
    return any(verdict.flagged for verdict in self.verdicts.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorised:
  """Judges whether samples are copies of training images.

  Attributes:
    sampler: how to sample.
    train: all that the model was trained on, and nothing else; where training
      mirrors images, a mirrored copy is found in features at best.
    held_out: real images of the same kind that nothing was trained on.
    features: a network, such as `interop.Resnet`, whose pooled features are
      compared besides pixels.
    images: how many samples.
    size: images in a block.
    seed: of the samples, and of which held-out images are drawn.
    count: neighbours that the distance to the nearest is calibrated by.
    alpha: a copy is nearer than this part of their mean distance.
    delta: a training image is extracted at this distance, root mean square of
      pixels in [0, 1].
    tiles: tiles a side, in each of which it must hold.
  """

  sampler: samplers.Sampler
  train: sources.Source
  held_out: sources.Source
  features: feature_nets.Network | None = None
  images: int = 1_000
  size: int = 128
  seed: int = 0
  count: int = 50
  alpha: float = 0.5
  delta: float = 0.1
  tiles: int = 1

  def __post_init__(self):
    least = {'images': 1, 'size': 1, 'count': 2, 'tiles': 1}
    for name, value in least.items():
      if getattr(self, name) < value:
        raise errors.ConfigError(
          f'Memorised: {name}={getattr(self, name)}, must be at least {value}'
        )

  def __call__(self, model: trained.Trained) -> parts.Found:
    """Samples, and compares.

    Raises:
      DataError: images of another shape than the model's, or too few.
      NonFiniteError: a sample is not finite.
    """
    found = self.inquire(model)
    figures = {
      'flagged': int(found.flagged),
      **_named(found.verdicts),
      **found.samples.figures,
      **_suffixed(found.held_out.figures),
      'images': len(found.samples.images),
      'images_held_out': len(found.held_out.images),
      'images_of_training': len(found.train),
      'evaluations_mean': found.evaluations,
      'seconds': found.seconds,
    }
    arrays = {
      'samples': found.samples.images,
      **found.samples.arrays(),
      **_suffixed(found.held_out.arrays()),
    }
    return parts.Found(figures, arrays, {'suspects': suspects(found)})

  def inquire(self, model: trained.Trained) -> Inquiry:
    """Samples, and compares, with all that a page shows.

    Raises:
      DataError: images of another shape than the model's, or too few.
      NonFiniteError: a sample is not finite.
    """
    train, real = self._images(model)
    made, evaluations, seconds = parts.sampled(
      model, self.sampler, self.images, size=self.size, seed=self.seed
    )
    order = np.random.default_rng(self.seed).permutation(len(real))
    spaces = {_PIXELS: distribution.pixels}
    if self.features is not None:
      net = self.features.load()
      spaces[_FEATURES] = lambda images: np.concatenate(
        [found.pooled for found in net([images])]
      )
    known = {space: of(train) for space, of in spaces.items()}

    def side(indices: np.ndarray, whole: np.ndarray) -> Side:
      images = whole[indices]
      return Side(
        indices,
        images,
        {
          space: metrics.neighbours(
            of(images), known[space], self.count, self.alpha
          )
          for space, of in spaces.items()
        },
        metrics.extracted(images, train, self.delta, self.tiles),
      )

    sides = side(np.arange(len(made)), made), side(order[: len(made)], real)
    verdicts = {
      space: metrics.compared(*(each.tables[space] for each in sides))
      for space in spaces
    }
    return Inquiry(
      *sides, train, verdicts, float(evaluations.mean()), seconds
    )

  def _images(self, model: trained.Trained) -> tuple[np.ndarray, np.ndarray]:
    """Returns all training images and all held-out ones."""
    found = []
    for name, source in (('train', self.train), ('held_out', self.held_out)):
      images = baselines.images(source)
      if images.shape[1:] != tuple(model.shape):
        shapes = images.shape[1:], model.shape
        shown, made = (' x '.join(map(str, shape)) for shape in shapes)
        raise errors.DataError(
          f'{name} has images of {shown}, the model makes {made}: give them as '
          'it was trained on them, by data.Mapped'
        )
      found.append(images)
    if len(found[0]) < self.count:
      raise errors.DataError(
        f'{len(found[0])} training images, but distances are calibrated by '
        f'{self.count} neighbours: set `count` to at most {len(found[0])}'
      )
    return tuple(found)


def suspects(found: Inquiry, shown: int = 12) -> np.ndarray:
  """The samples of lowest ratio above their nearest training images.

  And below them the held-out images of lowest ratio, above theirs: what such a
  search finds in real images too. Nearest is by the last of the distances, and
  of all that are nearest to one training image the lowest alone is shown.

  Args:
    found: of a model.
    shown: how many of each, at most.

  Returns:
    RGBA, uint8 [H, W, 4].
  """
  rows = []
  for side in (found.samples, found.held_out):
    table = [*side.tables.values()][-1]
    order = table.suspects(len(table.ratios))
    _, first = np.unique(table.indices[order, 0], return_index=True)
    worst = order[np.sort(first)[:shown]]
    rows += [side.images[worst], found.train[table.indices[worst, 0]]]
  return plots.table(
    rows, rows=('sample', 'nearest', 'held-out', 'nearest'), split=2
  )


def _suffixed(named: Mapping[str, Any]) -> dict[str, Any]:
  return {f'{name}_held_out': value for name, value in named.items()}


def _named(verdicts: Mapping[str, metrics.Memorisation]) -> dict[str, float]:
  """Figures of all verdicts; of the features they say so."""
  return {
    name if space == _PIXELS else f'{space}_{name}': value
    for space, verdict in verdicts.items()
    for name, value in dataclasses.asdict(verdict).items()
  }
