"""Figures of merit of a set of images against a reference.

What a reference of statistics cannot give, or so few images, is left out, with
the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from difjax import errors, metrics
from difjax.evaluation import feature_nets, gathered
from difjax.metrics import kernel, statistics

LOWER, HIGHER = 'lower', 'higher'  # which is better


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
  """How figures are computed; their defaults are the public conventions.

  What cannot be is a ConfigError.

  Attributes:
    neighbours: k of precision, recall, density and coverage.
    overlap: images of each set that those four compare, at most, drawn by
      `seed`; 0 leaves them out.
    subsets: pairs of subsets of the kernel distance; 0 leaves it out.
    subset: images of each, drawn by torch-fidelity's seed.
    levels: sizes that the limit for many images is extrapolated from.
    draws: groups of its confidence interval; 0 leaves it out.
    limit_entries: of features, above which it is left out too: with the
      defaults it is of 110 distances, each of which takes cubic time.
    confidence: of that interval.
    seed: of the limit's shuffle and of the images that overlap.
  """

  neighbours: int = 3
  overlap: int = 10_000
  subsets: int = 100
  subset: int = 1_000
  levels: int = 4
  draws: int = 10
  limit_entries: int = 1_000
  confidence: float = 0.95
  seed: int = 0

  def __post_init__(self) -> None:
    for name, least in (
      ('neighbours', 1), ('overlap', 0), ('subsets', 0), ('subset', 2),
      ('levels', 2), ('draws', 0), ('limit_entries', 0), ('seed', 0),
    ):  # fmt: skip
      value = getattr(self, name)
      if type(value) is not int or value < least:
        raise errors.ConfigError(
          f'figures.{name}={value}: give a whole number from {least}'
        )
    if self.draws == 1:
      raise errors.ConfigError('figures.draws=1: give 0, or 2 and more')
    if not 0 < self.confidence < 1:
      raise errors.ConfigError(
        f'figures.confidence={self.confidence}: give a number in (0, 1)'
      )

  @property
  def facts(self) -> dict[str, Any]:
    """All that moves a figure, by figure, as JSON has it."""
    return {
      'kernel': {
        'subsets': self.subsets, 'subset': self.subset,
        'seed': kernel.Draws.seed,
      },
      'overlap': {
        'neighbours': self.neighbours, 'images': self.overlap,
        'seed': self.seed,
      },
      'limit': {
        'levels': self.levels, 'draws': self.draws,
        'confidence': self.confidence, 'seed': self.seed,
      },
    }  # fmt: skip


class Statistics(NamedTuple):
  """What a reference has to compare with; None is what it has not.

  Attributes:
    pooled: statistics of the features.
    spatial: of the spatial features.
    features: [M, d], the features themselves.
  """

  pooled: metrics.Gaussian
  spatial: metrics.Gaussian | None = None
  features: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
  """A figure.

  Attributes:
    value: the figure.
    better: LOWER or HIGHER.
    depends: what else than the network and the number of images it depends
      on: keys of a card.
    beside: its deviation or interval, by name.
  """

  value: float
  better: str
  depends: tuple[str, ...]
  beside: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Found(NamedTuple):
  """Figures by name, and why others are not among them."""

  figures: dict[str, Figure]
  left_out: dict[str, str]


def statistics_of(found: gathered.Gathered) -> Statistics:
  """Takes a set's features for a reference."""
  spatial = found.spatial
  return Statistics(
    found.moments.gaussian, None if spatial is None else spatial.gaussian,
    found.pooled,
  )  # fmt: skip


def measure(
  made: gathered.Gathered,
  reference: Statistics,
  names: feature_nets.Names,
  how: Figures,
) -> Found:
  """Computes all figures that a set and a reference allow.

  Args:
    made: features of the images.
    reference: what to compare with.
    names: what figures on the network are called.
    how: the conventions.

  Raises:
    DataError: features of the two are of different networks, or not finite.
  """
  _check_alike(made.moments.mean, reference.pooled.mean, 'features')
  found = Found({}, {})
  found.figures[names.distance] = _distance(made.moments, reference.pooled)
  _spatial(found, made, reference, names)
  _scores(found, made, names)
  _kernel(found, made, reference, names, how)
  _overlap(found, made, reference, how)
  _infinity(found, made, reference, f'{names.distance}_infinity', how)
  return found


def _distance(made: metrics.Moments, real: metrics.Gaussian) -> Figure:
  value = metrics.frechet_distance(made.gaussian, real)
  return Figure(value=value, better=LOWER, depends=('reference',))


def _try(
  found: Found, name: str, compute: Callable[[], dict[str, Figure]]
) -> None:
  """Adds figures, or the reason why so few images have none."""
  try:
    found.figures.update(compute())
  except errors.DataError as error:
    found.left_out[name] = str(error)


def _spatial(
  found: Found, made: gathered.Gathered, reference: Statistics,
  names: feature_nets.Names,
) -> None:
  if made.spatial is None:
    return
  if reference.spatial is None:
    found.left_out[names.spatial] = 'the reference has no spatial statistics'
    return
  _check_alike(
    made.spatial.mean, reference.spatial.mean, 'spatial features'
  )
  found.figures[names.spatial] = _distance(made.spatial, reference.spatial)


def _scores(
  found: Found, made: gathered.Gathered, names: feature_nets.Names
) -> None:
  """Inception Scores: score_sde's of one part, ADM's of 5,000 images each."""
  for suffix, logits, parts in (
    ('', made.logits, metrics.SCORE_SDE), ('_adm', made.unbiased, metrics.ADM)
  ):  # fmt: skip
    if logits is not None:
      value, std = metrics.inception_score(logits, parts)
      several = len(parts(len(logits))) > 1
      found.figures[names.score + suffix] = Figure(
        value=value, better=HIGHER, depends=(),
        beside={'std': std} if several else {},
      )  # fmt: skip


def _kernel(
  found: Found, made: gathered.Gathered, reference: Statistics,
  names: feature_nets.Names, how: Figures,
) -> None:
  if not how.subsets:
    return
  if reference.features is None:
    found.left_out[names.kernel] = 'the reference has statistics alone'
    return

  def compute() -> dict[str, Figure]:
    draws = metrics.Draws(count=how.subsets, size=how.subset)
    value, std = metrics.kernel_distance(
      made.pooled, reference.features, pairs=draws
    )
    return {names.kernel: Figure(
      value=value, better=LOWER, depends=('reference', 'settings.kernel'),
      beside={'std': std},
    )}  # fmt: skip

  _try(found, names.kernel, compute)


def _overlap(
  found: Found, made: gathered.Gathered, reference: Statistics, how: Figures
) -> None:
  if not how.overlap:
    return
  title = 'precision, recall, density, coverage'
  if reference.features is None:
    found.left_out[title] = 'the reference has statistics alone'
    return

  def compute() -> dict[str, Figure]:
    some = metrics.overlap(
      _drawn(made.pooled, how.overlap, how.seed),
      _drawn(reference.features, how.overlap, how.seed),
      k=how.neighbours,
    )
    return {
      name: Figure(
        value=value, better=HIGHER, depends=('reference', 'settings.overlap')
      )
      for name, value in dataclasses.asdict(some).items()
    }

  _try(found, title, compute)


def _drawn(features: np.ndarray, most: int, seed: int) -> np.ndarray:
  """Some of the features, so that an order by class does no harm."""
  if len(features) <= most:
    return features
  rng = np.random.default_rng(seed)
  return features[np.sort(rng.choice(len(features), most, replace=False))]


def _infinity(
  found: Found, made: gathered.Gathered, reference: Statistics, name: str,
  how: Figures,
) -> None:
  entries = made.pooled.shape[1]
  if how.draws and entries > how.limit_entries:
    found.left_out[name] = (
      f'features of {entries:,} entries take long: '
      f'--figures.limit_entries={entries} computes it'
    )
  elif how.draws:
    _try(found, name, lambda: {name: _limit(made, reference, how)})


def _limit(
  made: gathered.Gathered, reference: Statistics, how: Figures
) -> Figure:
  limit = metrics.fd_infinity(
    made.pooled, reference.pooled, how.levels, how.draws, how.confidence,
    how.seed,
  )  # fmt: skip
  return Figure(
    value=limit.value, better=LOWER, depends=('reference', 'settings.limit'),
    beside={'low': limit.low, 'high': limit.high},
  )  # fmt: skip


def _check_alike(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
  """Refuses statistics of another network.

  Raises:
    DataError: they are of features of another length.
  """
  statistics.as_features(np.asarray(theirs)[None])
  if np.shape(ours) != np.shape(theirs):
    raise errors.DataError(
      f'{what} of the images have {len(ours)} entries and those of the '
      f'reference {len(theirs)}: give a reference of the same network, and for '
      'pixels images of one shape'
    )
