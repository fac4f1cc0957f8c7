"""The Frechet distance that infinitely many images would have.

The distance of N images' statistics to a fixed reference is too large by about
c / N (Chong and Forsyth 2020, arXiv 1911.07023),

  (1)  FD(N) = FD_inf + c / N + O(1 / N^2),

so a line in 1/N through FD(N), FD(N/2) ... FD(N/K) has FD_inf for its
intercept. FD(N/k) is the mean over the k disjoint parts of a shuffled set:
every level uses every image once, and 1/N is spaced evenly.

How far the intercept t would move with other images is told by leaving out one
of G groups at a time, the delete-a-group jackknife: the intercepts t_1 ... t_G,
with t_ their mean, have

  (2)  s^2 = (G - 1) / G sum_g (t_g - t_)^2,    t +- q s,

with q of Student's t with G - 1 degrees of freedom. The groups are spread
evenly over the parts, so that what varies is the images and not the way they
are cut.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax import errors
from difjax.metrics import frechet, statistics
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
  """An extrapolated distance and what it rests on.

  Attributes:
    value: FD_inf of (1); noise can make it negative.
    low: lower end of the confidence interval (2).
    high: upper end of it.
    counts: images [K] of a part at each level, the largest first.
    distances: FD [K] at these counts.
    draws: the intercepts [G] with a group left out.
  """

  value: float
  low: float
  high: float
  counts: tuple[float, ...]
  distances: tuple[float, ...]
  draws: tuple[float, ...]


def fd_infinity(
  features: Array,
  reference: statistics.Gaussian,
  levels: int = 4,
  draws: int = 10,
  confidence: float = 0.95,
  seed: int = 0,
) -> Limit:
  """Frechet distance extrapolated to infinitely many images, with an interval.

  It costs (draws + 1) levels (levels + 1) / 2 distances: minutes at d = 2,048.

  Args:
    features: [N, d] of generated images, independent of each other.
    reference: statistics of the real ones; their number stays as it is.
    levels: K, sizes N, N/2 ... N/K of the line.
    draws: G, groups left out one at a time.
    confidence: that the interval holds FD_inf, were (1) exact.
    seed: of the shuffle.

  Raises:
    DataError: malformed features or statistics, or parts so small that their
      covariance is singular, where (1) does not hold.
  """
  from scipy import stats

  features = statistics.as_features(features, at_least=2)
  count, d = features.shape
  least = int(count / levels * (1 - 1 / draws))
  if least <= d:
    raise errors.DataError(
      f'{count} features of {d} entries leave {least} at level {levels}, too '
      f'few for their covariance: give at least {(d + 2) * levels * 2} or set '
      'fewer levels'
    )
  features = features[np.random.default_rng(seed).permutation(count)]
  group = np.arange(count) % draws
  value, counts, distances = _intercept(features, reference, levels)
  left = tuple(
    _intercept(features[group != g], reference, levels)[0] for g in range(draws)
  )
  half = np.sqrt((draws - 1) * np.var(left))
  half *= stats.t.ppf((1 + confidence) / 2, draws - 1)
  return Limit(
    value=value,
    low=float(value - half),
    high=float(value + half),
    counts=counts,
    distances=distances,
    draws=left,
  )


def _intercept(
  features: np.ndarray, reference: statistics.Gaussian, levels: int
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
  """The intercept of (1), and the counts and distances [K] that it rests on."""
  counts = tuple(len(features) / k for k in range(1, levels + 1))
  distances = tuple(
    float(np.mean([
      frechet.frechet_distance(statistics.Moments.of(part).gaussian, reference)
      for part in np.array_split(features, k)
    ]))
    for k in range(1, levels + 1)
  )  # fmt: skip
  line = np.polynomial.Polynomial.fit(1 / np.array(counts), distances, 1)
  return float(line(0.0)), counts, distances
