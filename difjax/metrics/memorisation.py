"""Does a model repeat its training images? Asked of each sample, not of a law.

A sample g has the training images x_1, x_2 ... at growing distances d(g, x_i).

  (1)  ratio(g) = d(g, x_1) / (alpha / n sum_{i <= n} d(g, x_i)),

with n = 50 and alpha = 1/2, is below 1 where one training image is much nearer
than its neighbours: the adaptive threshold of Carlini et al. 2023 (arXiv
2301.13188, section 5). A sample is authentic (Alaa et al. 2022, arXiv
2102.08921) if its nearest training image has a training image nearer than g:

  (2)  min_{x != x_1} d(x, x_1) < d(g, x_1).

Both happen to real images too: CIFAR-10's test set is authentic by (2) in 72 %,
and has near duplicates in the training set. So neither means anything beside 0
or 1, but beside the same figure for held-out real images; `memorised` gives
both, and the chance that held-out images would look as copied.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax.metrics import distances, nearest, statistics
from difjax.typing import Array

_CHANCE = 1e-3  # of a false alarm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
  """The training images around each sample.

  Attributes:
    indices: [N, n] of the nearest training images, nearest first.
    distances: [N, n] to them.
    ratios: [N], equation (1).
  """

  indices: np.ndarray
  distances: np.ndarray
  ratios: np.ndarray

  def suspects(self, count: int) -> np.ndarray:
    """Indices of the `count` samples of lowest ratio, the lowest first."""
    return np.argsort(self.ratios, kind='stable')[:count]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorisation:
  """What samples and held-out images score against one training set.

  Attributes:
    copied: share of samples whose ratio (1) is below 1.
    copied_held_out: the same of held-out images.
    authentic: share of samples that are authentic, equation (2).
    authentic_held_out: the same of held-out images.
    nearest_ratio: median distance to training, samples' over held-out images'.
    chance: that held-out images would give as many copies, by Fisher's test.
  """

  copied: float
  copied_held_out: float
  authentic: float
  authentic_held_out: float
  nearest_ratio: float
  chance: float

  @property
  def flagged(self) -> bool:
    """Whether samples are copies twice as often as held-out images or more.

    And more often than chance explains: of many samples, it alone would tell
    any difference between two laws.
    """
    return self.chance < _CHANCE and self.copied >= 2 * self.copied_held_out


def neighbours(
  samples: Array,
  train: Array,
  count: int = 50,
  alpha: float = 0.5,
  chunk: int = distances.CHUNK,
) -> Neighbours:
  """Nearest training images and calibrated ratios (1) of samples.

  Args:
    samples: [N, d], pixels or features.
    train: [T, d], T >= count.
    count: n in (1).
    alpha: its factor.
    chunk: rows of distances held at once, at most.

  Raises:
    DataError: malformed features, or fewer training images than `count`.
  """
  apart, indices = nearest.nearest_neighbours(samples, train, count, chunk)
  scale = alpha * apart.mean(axis=1)
  # All n at distance 0 are n copies of the sample: as near as can be.
  ratios = np.divide(apart[:, 0], scale, np.zeros(len(scale)), where=scale > 0)
  return Neighbours(indices=indices, distances=apart, ratios=ratios)


def authentic(
  samples: Array, train: Array, chunk: int = distances.CHUNK
) -> np.ndarray:
  """Which samples [N] are authentic, equation (2).

  Args:
    samples: [N, d].
    train: [T, d], T >= 2.
    chunk: rows of distances held at once, at most.

  Raises:
    DataError: malformed features, or fewer than two training images.
  """
  train = statistics.as_features(train, at_least=2)
  return _authentic(neighbours(samples, train, 1, chunk=chunk), train, chunk)


def _authentic(
  table: Neighbours, train: np.ndarray, chunk: int = distances.CHUNK
) -> np.ndarray:
  """Equation (2) of the samples [N] of a table."""
  hit, place = np.unique(table.indices[:, 0], return_inverse=True)
  # The nearest of all is the image itself, or a copy at the same distance 0.
  apart, _ = nearest.nearest_neighbours(train[hit], train, 2, chunk)
  return apart[place.reshape(-1), 1] < table.distances[:, 0]


def memorised(
  samples: Array,
  held_out: Array,
  train: Array,
  count: int = 50,
  alpha: float = 0.5,
) -> Memorisation:
  """Compares samples with held-out real images by their distance to training.

  Args:
    samples: [N, d], pixels or features.
    held_out: [M, d], real and never trained on.
    train: [T, d], T >= count; all that the model was trained on.
    count: n in (1).
    alpha: its factor.

  Raises:
    DataError: malformed features, fewer training images than `count`, or
      held-out images of which at least half are training images.
  """
  from scipy import stats

  train = statistics.as_features(train, at_least=max(2, count))
  tables = [neighbours(x, train, count, alpha) for x in (samples, held_out)]
  copied = [table.ratios < 1 for table in tables]
  counts = [[np.sum(each), np.sum(~each)] for each in copied]
  own, real = (_authentic(table, train).mean() for table in tables)
  ratio = nearest.ratio_of(*(table.distances[:, 0] for table in tables))
  return Memorisation(
    copied=float(copied[0].mean()),
    copied_held_out=float(copied[1].mean()),
    authentic=float(own),
    authentic_held_out=float(real),
    nearest_ratio=ratio,
    chance=float(stats.fisher_exact(counts, alternative='greater').pvalue),
  )
