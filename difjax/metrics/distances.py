"""Distances between many points, as fast as products of matrices and exact.

|a - b|^2 = |a|^2 + |b|^2 - 2 a.b runs tens of times faster than the sum of
squared differences, and cancels: copies come out at 1e-8 instead of 0, and ties
are no ties any more, which nearest neighbours and balls turn on. Here the fast
form is taken with a bound on its error, in the coordinates of the references'
mean,

  (1)  |fast - exact| <= s = 4 (d + 8) eps (|a|^2 + |b|^2),

and every pair that s leaves open is computed anew as a sum of squares. What
comes out is what the sums of squares alone would say, bit for bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from difjax import errors
from difjax.metrics import statistics
from difjax.typing import Array

CHUNK = 256
_ENTRIES = 2**25  # of a block, at most: 256 MiB
_GATHERED = 2**22  # entries of the features that are gathered at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
  """Squared distances of some queries to all references.

  Attributes:
    rows: which queries.
    queries: [R, d], those queries.
    references: [M, d].
    squared: [R, M], the fast form.
    slack: [R, M], the bound s of (1) on its error.
  """

  rows: slice
  queries: np.ndarray
  references: np.ndarray
  squared: np.ndarray
  slack: np.ndarray

  def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sums of squared differences [P] of the pairs (rows [P], columns [P])."""
    step = max(1, _GATHERED // self.queries.shape[1])
    parts = [
      np.sum((self.queries[i] - self.references[j]) ** 2, axis=1)
      for i, j in (
        (rows[start : start + step], columns[start : start + step])
        for start in range(0, len(rows), step)
      )
    ]
    return np.concatenate([np.empty(0), *parts])

  def within(self, limits: np.ndarray, closed: bool = True) -> np.ndarray:
    """Which pairs [R, M] are no farther apart than their limits.

    Args:
      limits: squared distances, of a shape that broadcasts to [R, M].
      closed: whether a pair at the limit itself is within.
    """
    limits = np.broadcast_to(limits, self.squared.shape)
    inside = self.squared <= limits
    open_pairs = np.nonzero(np.abs(self.squared - limits) <= self.slack)
    compare = np.less_equal if closed else np.less
    inside[open_pairs] = compare(self.exact(*open_pairs), limits[open_pairs])
    return inside

  def nearest(self, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances [R, k] and indices [R, k] of the k nearest references.

    Nearest first; of equals, the lower index.
    """
    bound = np.partition(self.squared + self.slack, k - 1, axis=1)[:, k - 1]
    rows, columns = np.nonzero(self.squared - self.slack <= bound[:, None])
    values = self.exact(rows, columns)
    order = np.lexsort((columns, values, rows))
    first = np.searchsorted(rows, np.arange(len(self.queries)))
    picked = order[first[:, None] + np.arange(k)]
    return values[picked], columns[picked]

  def farthest(self) -> float:
    """The largest squared distance of the block."""
    bound = np.max(self.squared - self.slack)
    return float(
      np.max(self.exact(*np.nonzero(self.squared + self.slack >= bound)))
    )


def blocks(
  queries: Array, references: Array, chunk: int = CHUNK
) -> Iterator[Block]:
  """Distances of all queries to all references, a block of queries at a time.

  Args:
    queries: [N, d].
    references: [M, d].
    chunk: queries of a block, at most; fewer where M is large.

  Raises:
    DataError: malformed features, or of different d.
  """
  queries = statistics.as_features(queries)
  references = statistics.as_features(references)
  d = queries.shape[1]
  if d != references.shape[1]:
    raise errors.DataError(
      f'features of {d} and of {references.shape[1]} entries cannot be '
      'compared: make both in the same way'
    )
  centre = references.mean(axis=0)
  centred = references - centre
  norms = np.sum(centred**2, axis=1)
  step = max(1, min(chunk, _ENTRIES // len(references)))
  for start in range(0, len(queries), step):
    rows = slice(start, start + step)
    near = queries[rows] - centre
    size = np.sum(near**2, axis=1)[:, None] + norms
    yield Block(
      rows=rows,
      queries=queries[rows],
      references=references,
      squared=size - 2 * near @ centred.T,
      slack=4 * (d + 8) * np.finfo(np.float64).eps * size,
    )


def k_nearest(
  queries: Array, references: Array, k: int, chunk: int = CHUNK
) -> tuple[np.ndarray, np.ndarray]:
  """Squared distances [N, k] and indices [N, k] of the k nearest references.

  Args:
    queries: [N, d].
    references: [M, d], M >= k.
    k: neighbours of each, nearest first; of equals, the lower index.
    chunk: queries of a block, at most.

  Raises:
    DataError: malformed features, or fewer references than k.
  """
  references = statistics.as_features(references, at_least=k)
  found = [each.nearest(k) for each in blocks(queries, references, chunk)]
  squared, indices = zip(*found, strict=True)
  return np.concatenate(squared), np.concatenate(indices)
