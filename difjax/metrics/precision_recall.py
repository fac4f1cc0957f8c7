"""Precision and recall of samples: do the supports of two sets overlap?

The support of a set X is taken to be the union of the balls around its points
that just reach their k-th nearest neighbour in X, at distance r_k(x, X). With
generated points Y and real points X (Kynkaanniemi et al. 2019, arXiv
1904.06991, equations 1 and 2):

  (1)  precision = share of y in Y with |y - x| <= r_k(x, X) for some x,
  (2)  recall    = share of x in X with |x - y| <= r_k(y, Y) for some y,

and, steadier under outliers (Naeem et al. 2020, arXiv 2002.09797):

  (3)  density   = 1/(k |Y|) number of (x, y) with |y - x| <= r_k(x, X),
  (4)  coverage  = share of x in X with |y - x| <= r_k(x, X) for some y.

Whether a point on a sphere counts as inside is a convention: ADM's evaluator
and torch-fidelity say <=, as above; prdc, the code of (3) and (4), says <. It
matters where features take few values. All four depend on the number of points:
compare only sets of equal size against one real set.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax.metrics import distances, statistics
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
  """How two supports overlap: (1) to (4), in [0, 1]; density may exceed 1."""

  precision: float
  recall: float
  density: float
  coverage: float

  @property
  def f_score(self) -> float:
    """Harmonic mean of precision and recall; 0 where both are."""
    both = self.precision + self.recall
    return 2 * self.precision * self.recall / both if both else 0.0


def _squared_radii(features: Array, k: int, chunk: int) -> np.ndarray:
  """r_k^2 of each point [N]; a point is its own nearest neighbour, not k-th."""
  return distances.k_nearest(features, features, k + 1, chunk)[0][:, k]


def overlap(
  generated: Array,
  real: Array,
  k: int = 3,
  chunk: int = distances.CHUNK,
  closed: bool = True,
) -> Overlap:
  """Precision, recall, density and coverage of generated features.

  Args:
    generated: [N, d], N > k.
    real: [M, d], M > k.
    k: the neighbour that a ball reaches; 3 in (1) and (2), 5 is common in (3).
    chunk: rows of distances held at once, at most.
    closed: whether a ball holds its sphere: ADM's and torch-fidelity's
      convention; False is prdc's.

  Raises:
    DataError: malformed features, or no more than k in a set.
  """
  generated = statistics.as_features(generated, at_least=k + 1)
  real = statistics.as_features(real, at_least=k + 1)
  real_radii = _squared_radii(real, k, chunk)
  radii = _squared_radii(generated, k, chunk)
  precise, pairs = 0, 0
  covered = np.zeros(len(real), bool)
  recalled = np.zeros(len(real), bool)
  for block in distances.blocks(generated, real, chunk):
    inside = block.within(real_radii, closed)
    precise += inside.any(axis=1).sum()
    pairs += inside.sum()
    covered |= inside.any(axis=0)
    recalled |= block.within(radii[block.rows, None], closed).any(axis=0)
  return Overlap(
    precision=float(precise / len(generated)),
    recall=float(recalled.mean()),
    density=float(pairs / (k * len(generated))),
    coverage=float(covered.mean()),
  )
