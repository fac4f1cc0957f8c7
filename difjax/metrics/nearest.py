"""Nearest neighbours, and whether samples sit closer to training than they may.

A copy is at distance 0 exactly and ties are ties: see `distances`.
"""

from __future__ import annotations

import numpy as np

from difjax import errors
from difjax.metrics import distances
from difjax.typing import Array


def nearest_neighbours(
  queries: Array, references: Array, k: int = 1, chunk: int = distances.CHUNK
) -> tuple[np.ndarray, np.ndarray]:
  """The k nearest references of every query, nearest first.

  Args:
    queries: [N, d].
    references: [M, d], M >= k.
    k: neighbours of each.
    chunk: rows of distances held at once, at most.

  Returns:
    Euclidean distances [N, k] and indices [N, k]; of equals, the lower index
    comes first.

  Raises:
    DataError: malformed features, or fewer references than k.
  """
  squared, indices = distances.k_nearest(queries, references, k, chunk)
  return np.sqrt(squared), indices


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
  return ratio_of(
    *(nearest_neighbours(x, train)[0][:, 0] for x in (samples, held_out))
  )


def ratio_of(samples: np.ndarray, held_out: np.ndarray) -> float:
  """The ratio of the medians of nearest distances [N] and [M].

  Raises:
    DataError: half of the held-out images are training images.
  """
  real = np.median(held_out)
  if real == 0:
    raise errors.DataError(
      'half of the held-out images are in the training set: split them apart'
    )
  return float(np.median(samples) / real)
