"""Mean and covariance of features, gathered batch by batch in float64.

A batch of n features x_i in R^d is summed up as

  (1)  m = 1/n sum_i x_i,      S = sum_i (x_i - m)(x_i - m)^T,

and two disjoint batches combine without looking at the features again:

  (2)  m = m_a + (n_b / n) g,      g = m_b - m_a,      n = n_a + n_b,
  (3)  S = S_a + S_b + (n_a n_b / n) g g^T.

Unlike running sums of x and x x^T, (3) subtracts nothing large, so an offset
that is common to all features costs no digits (Chan, Golub and LeVeque,
"Algorithms for computing the sample variance", 1983). Shards may be gathered
apart and merged, in any order up to rounding; merging in index order makes the
result bit-stable.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from difjax import errors
from difjax.typing import Array


class Gaussian(NamedTuple):
  """A mean [d] and a covariance [d, d]: all that a Frechet distance reads."""

  mean: Array
  covariance: Array


class Estimate(NamedTuple):
  """A figure over parts of a set: their mean, and their standard deviation.

  The deviation divides by the number of parts, as every tool prints it; it is
  of one part, not of the mean.
  """

  mean: float
  std: float


def as_features(features: Array, at_least: int = 1) -> np.ndarray:
  """Features as a float64 matrix [N, d] with N >= at_least.

  Raises:
    DataError: they are not a matrix, they are too few, or one is not finite. (A
      buffer that lost its second axis gives distances near 0 without this.)
  """
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or len(features) < at_least or not features.size:
    raise errors.DataError(
      f'features have the shape {features.shape}: this figure needs a matrix '
      f'[N, d] with N >= {at_least}'
    )
  if not np.isfinite(features).all():
    raise errors.DataError('features hold NaN or infinity: look at the images')
  return features


@dataclasses.dataclass(frozen=True)
class Moments:
  """Count, mean [d] and scatter matrix [d, d] of features, equation (1)."""

  count: int
  mean: np.ndarray
  scatter: np.ndarray

  @classmethod
  def of(cls, features: Array) -> Moments:
    """Moments of one batch of features [N, d]; DataError if malformed."""
    features = as_features(features)
    mean = features.mean(axis=0)
    centred = features - mean
    return cls(len(features), mean, centred.T @ centred)

  @classmethod
  def of_gaussian(cls, gaussian: Gaussian, count: int) -> Moments:
    """Moments that stored statistics of `count` features were made from."""
    mean, covariance = (np.asarray(part, np.float64) for part in gaussian)
    return cls(count, mean, covariance * (count - 1))

  @classmethod
  def of_batches(cls, batches: Iterable[Array]) -> Moments:
    """Moments of all batches [n_i, d] of a stream, none of which is kept.

    Raises:
      DataError: there is no batch, one is malformed, or d varies.
    """
    parts = (cls.of(batch) for batch in batches)
    first = next(parts, None)
    if first is None:
      raise errors.DataError('there are no features: no batch was given')
    return functools.reduce(cls.merge, parts, first)

  def merge(self, other: Moments) -> Moments:
    """Moments of this batch and a disjoint one, equations (2) and (3).

    Raises:
      DataError: their features differ in length.
    """
    if self.mean.shape != other.mean.shape:
      raise errors.DataError(
        f'features of {self.mean.size} and of {other.mean.size} entries cannot '
        'be merged: make both in the same way'
      )
    count = self.count + other.count
    gap = other.mean - self.mean
    between = np.outer(gap, gap) * (self.count * other.count / count)
    return Moments(
      count,
      self.mean + gap * (other.count / count),
      self.scatter + other.scatter + between,
    )

  @property
  def gaussian(self) -> Gaussian:
    """Mean and unbiased covariance S / (n - 1), as every FID code has it.

    Raises:
      DataError: fewer than two features, which have no covariance.
    """
    if self.count < 2:
      raise errors.DataError('one image has no covariance: give at least two')
    return Gaussian(self.mean, self.scatter / (self.count - 1))
