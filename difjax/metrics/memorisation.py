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

import bisect
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
    authentic: [N], whether equation (2) holds.
  """

  indices: np.ndarray
  distances: np.ndarray
  ratios: np.ndarray
  authentic: np.ndarray

  @property
  def copies(self) -> int:
    """How many have a ratio below 1."""
    return int(np.sum(self.ratios < 1))

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
    allowed: the largest share of copies that would not be flagged.
  """

  copied: float
  copied_held_out: float
  authentic: float
  authentic_held_out: float
  nearest_ratio: float
  chance: float
  allowed: float

  @property
  def flagged(self) -> bool:
    """Whether samples are copies twice as often as held-out images or more.

    And more often than chance explains: of many samples, it alone would tell
    any difference between two laws.
    """
    return self.copied > self.allowed


def neighbours(
  samples: Array,
  train: Array,
  count: int = 50,
  alpha: float = 0.5,
  chunk: int = distances.CHUNK,
) -> Neighbours:
  """Nearest training images, calibrated ratios (1) and authenticity (2).

  Args:
    samples: [N, d], pixels or features.
    train: [T, d], T >= count and T >= 2.
    count: n in (1).
    alpha: its factor.
    chunk: rows of distances held at once, at most.

  Raises:
    DataError: malformed features, or fewer training images than `count`.
  """
  train = statistics.as_features(train, at_least=max(2, count))
  apart, indices = nearest.nearest_neighbours(samples, train, count, chunk)
  scale = alpha * apart.mean(axis=1)
  # All n at distance 0 are n copies of the sample: as near as can be.
  ratios = np.divide(apart[:, 0], scale, np.zeros(len(scale)), where=scale > 0)
  hit, place = np.unique(indices[:, 0], return_inverse=True)
  # The nearest of all is the image itself, or a copy at the same distance 0.
  own, _ = nearest.nearest_neighbours(train[hit], train, 2, chunk)
  return Neighbours(
    indices=indices, distances=apart, ratios=ratios,
    authentic=own[place.reshape(-1), 1] < apart[:, 0],
  )  # fmt: skip


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
  return neighbours(samples, train, 1, chunk=chunk).authentic


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
  train = statistics.as_features(train, at_least=max(2, count))
  tables = (neighbours(x, train, count, alpha) for x in (samples, held_out))
  return compared(*tables)


def compared(samples: Neighbours, held_out: Neighbours) -> Memorisation:
  """Compares the training images around samples and around held-out images.

  Raises:
    DataError: at least half of the held-out images are training images.
  """
  size, real = len(samples.ratios), len(held_out.ratios)
  chance = lambda copies: _chance(copies, size, held_out.copies, real)

  def suspicious(copies: int) -> bool:  # and so are more than that
    often = copies * real >= 2 * held_out.copies * size
    return often and chance(copies) < _CHANCE

  # The least number of copies that is flagged; all and one where none is.
  least = bisect.bisect_left(range(size + 1), True, key=suspicious)
  return Memorisation(
    copied=samples.copies / size,
    copied_held_out=held_out.copies / real,
    authentic=float(samples.authentic.mean()),
    authentic_held_out=float(held_out.authentic.mean()),
    nearest_ratio=nearest.ratio_of(
      samples.distances[:, 0], held_out.distances[:, 0]
    ),
    chance=chance(samples.copies),
    allowed=(least - 1) / size,
  )


def _chance(copies: int, size: int, real_copies: int, real: int) -> float:
  """Fisher's one-sided p of `copies` of `size` beside those of real images."""
  from scipy import stats

  counts = [[copies, size - copies], [real_copies, real - real_copies]]
  return float(stats.fisher_exact(counts, alternative='greater').pvalue)
