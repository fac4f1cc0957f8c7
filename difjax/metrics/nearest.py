"""Nearest neighbours, and whether samples sit closer to training than they may.

Distances are sums of squared differences rather than |a|^2 + |b|^2 - 2 a.b: a
copy is at distance 0 exactly and ties are ties, which the figures made from
them turn on. Nothing larger than `chunk` rows of distances is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from difjax import errors
from difjax.metrics import statistics
from difjax.typing import Array

CHUNK = 1024


def squared_distances(
  queries: Array, references: Array, chunk: int = CHUNK
) -> Iterator[tuple[slice, np.ndarray]]:
  """Squared Euclidean distances, a block of queries at a time.

  Args:
    queries: [N, d].
    references: [M, d].
    chunk: rows of a block, at most.

  Yields:
    The rows of the block, and their distances [rows, M] in float64.
  """
  from scipy.spatial import distance

  queries = statistics.as_features(queries)
  references = statistics.as_features(references)
  if queries.shape[1] != references.shape[1]:
    raise errors.DataError(
      f'features of {queries.shape[1]} and of {references.shape[1]} entries '
      'cannot be compared: make both in the same way'
    )
  for start in range(0, len(queries), chunk):
    rows = slice(start, start + chunk)
    yield rows, distance.cdist(queries[rows], references, 'sqeuclidean')


def nearest_neighbours(
  queries: Array, references: Array, k: int = 1, chunk: int = CHUNK
) -> tuple[np.ndarray, np.ndarray]:
  """The k nearest references of every query, nearest first.

  Args:
    queries: [N, d].
    references: [M, d], M >= k.
    k: neighbours of each.
    chunk: rows of distances held at once.

  Returns:
    Euclidean distances [N, k] and indices [N, k]; of equals, the lower index
    comes first.

  Raises:
    DataError: malformed features, or fewer references than k.
  """
  references = statistics.as_features(references, at_least=k)
  distances, indices = [], []
  for _, squared in squared_distances(queries, references, chunk):
    order = np.argsort(squared, axis=1, kind='stable')[:, :k]
    indices.append(order)
    distances.append(np.sqrt(np.take_along_axis(squared, order, axis=1)))
  return np.concatenate(distances), np.concatenate(indices)


def nearest_ratio(samples: Array, held_out: Array, train: Array) -> float:
  """Median nearest-training distance of samples over that of held-out images.

  1 is what new images of the same kind score, 0 is what copies score. Well
  above 1 means that samples lie off the data, so it bounds memorising only.

  Args:
    samples: [N, d].
    held_out: [M, d], real and never trained on.
    train: [T, d].

  Raises:
    DataError: malformed features, or held-out images that are themselves
      copies of training images (at least half of them).
  """
  generated, real = (
    np.median(nearest_neighbours(features, train)[0])
    for features in (samples, held_out)
  )
  if real == 0:
    raise errors.DataError(
      'half of the held-out images are in the training set: split them apart'
    )
  return float(generated / real)
