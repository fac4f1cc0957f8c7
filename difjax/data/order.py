"""In which order examples are seen: a pure function of the row's number.

Training rows are numbered g = 0, 1, 2, ... across the run. With n examples,

  epoch(g) = floor(g / n)                                               (1)
  index(g) = pi_{seed, epoch(g)}(g mod n)                               (2)

where pi is a bijection of {0, ..., n - 1} keyed by seed and epoch. It is
evaluated a row at a time (a block cipher on the index, grain's
`index_shuffle`), so nothing is stored and nothing has to be restored: every
example comes exactly once an epoch, whatever was interrupted in between.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax import errors
from difjax.typing import Array

ROUNDS = 4  # of the cipher; grain's own choice for its data loaders


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
  """A fresh permutation of n examples for each epoch.

  Attributes:
    seed: non-negative integer that keys the permutations.
    n: number of examples, at least 1.
  """

  seed: int
  n: int

  def __post_init__(self) -> None:
    if self.n < 1:
      raise errors.DataError(
        'the source has no examples, so there is no order: check its path'
      )
    if self.seed < 0:
      raise errors.ConfigError(f'seed={self.seed} must not be negative')

  def index(self, rows: Array) -> tuple[Array, Array]:
    """Epoch and example of each row, equations (1) and (2).

    Args:
      rows: int [B], numbers g >= 0 of rows since the start of training.

    Returns:
      int64 [B] epochs and int64 [B] indices below n.
    """
    epochs, rest = np.divmod(np.asarray(rows, np.int64), self.n)
    indices = np.empty_like(rest)
    for epoch in np.unique(epochs):
      here = epochs == epoch
      indices[here] = self._permute(int(epoch), rest[here])
    return epochs, indices

  def _permute(self, epoch: int, rest: Array) -> list[int]:
    # Imported late: grain takes seconds to load and brings jax with it.
    from grain.python import experimental as grain

    key = int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])
    last = self.n - 1
    return [
      grain.index_shuffle(i, max_index=last, seed=key, rounds=ROUNDS)
      for i in rest.tolist()
    ]
