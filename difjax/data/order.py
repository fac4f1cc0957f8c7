"""In which order examples are seen: a pure function of the row's number.

Training rows are numbered g = 0, 1, 2, ... across the run. With n examples,

  epoch(g) = floor(g / n)                                               (1)
  index(g) = pi_{seed, epoch(g)}(g mod n)                               (2)

where pi is a bijection of {0, ..., n - 1} keyed by seed and epoch. It is
evaluated a row at a time (a block cipher on the index, grain's
`index_shuffle`), so nothing is stored and nothing has to be restored: every
example comes exactly once an epoch, whatever was interrupted in between.

A source of many shards is read best a few shards at a time. `Windowed` keeps
(1) and takes for pi in (2): the shards in an order of the epoch; M of them
after each other are a window; the examples of a window in an order of the epoch
and the window. With M = the number of shards that is a shuffle of everything
again. A window's order is held in memory, 8 bytes an example.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np

from difjax import errors
from difjax.typing import Array

ROUNDS = 4  # of the cipher; grain's own choice for its data loaders


class Permuted(Protocol):
  """What `Order` and `Windowed` are to a pipeline."""

  def index(self, rows: Array) -> tuple[Array, Array]:
    """Epoch and example, int64 [B] each, of rows g >= 0, int [B]."""
    ...


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
    _check(self.seed, self.n)

  def index(self, rows: Array) -> tuple[Array, Array]:
    """Epoch and example of each row, equations (1) and (2).

    Args:
      rows: int [B], numbers g >= 0 of rows since the start of training.

    Returns:
      int64 [B] epochs and int64 [B] indices below n.
    """
    return _by_epoch(rows, self.n, self._permute)

  def _permute(self, epoch: int, rest: Array) -> list[int]:
    # Imported late: grain takes seconds to load and brings jax with it.
    from grain.python import experimental as grain

    key = int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])
    last = self.n - 1
    return [
      grain.index_shuffle(i, max_index=last, seed=key, rounds=ROUNDS)
      for i in rest.tolist()
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windowed:
  """Permuted shards, and permuted examples in each window of M shards.

  Attributes:
    seed: non-negative integer that keys the permutations.
    chunks: examples of each shard, in the order of the source.
    window: shards M that are shuffled together, at least 1.
  """

  seed: int
  chunks: tuple[int, ...]
  window: int

  def __post_init__(self) -> None:
    _check(self.seed, sum(self.chunks))
    if self.window < 1:
      raise errors.ConfigError(f'window={self.window} must be at least 1 shard')

  def index(self, rows: Array) -> tuple[Array, Array]:
    """Epoch and example of each row; see `Order.index`."""
    return _by_epoch(rows, sum(self.chunks), self._permute)

  def _permute(self, epoch: int, rest: Array) -> Array:
    _, firsts = self._layout(epoch)
    windows = np.searchsorted(firsts, rest, side='right') - 1
    indices = np.empty_like(rest)
    for window in np.unique(windows).tolist():
      here = windows == window
      indices[here] = self._held(epoch, window)[rest[here] - firsts[window]]
    return indices

  @functools.cached_property
  def _layout(self) -> Callable[[int], tuple[Array, Array]]:
    return functools.lru_cache(2)(self._laid_out)

  @functools.cached_property
  def _held(self) -> Callable[[int, int], Array]:
    return functools.lru_cache(2)(self._shuffled)

  def _laid_out(self, epoch: int) -> tuple[Array, Array]:
    """An epoch's order of shards, and the first place of each window."""
    shards = _generator(self.seed, epoch).permutation(len(self.chunks))
    places = np.cumsum([0, *np.array(self.chunks)[shards]])
    return shards, places[:-1][:: self.window]

  def _shuffled(self, epoch: int, window: int) -> Array:
    """Examples of a window in the order in which they come."""
    shards, _ = self._layout(epoch)
    starts = np.cumsum([0, *self.chunks])
    begin = window * self.window
    held = np.concatenate([
      np.arange(starts[k], starts[k + 1])
      for k in shards[begin : begin + self.window]
    ])
    return _generator(self.seed, epoch, window + 1).permutation(held)


def _check(seed: int, n: int) -> None:
  if n < 1:
    raise errors.DataError(
      'the source has no examples, so there is no order: check its path'
    )
  if seed < 0:
    raise errors.ConfigError(f'seed={seed} must not be negative')


def _by_epoch(
  rows: Array, n: int, permute: Callable[[int, Array], Array | list[int]]
) -> tuple[Array, Array]:
  """Equations (1) and (2), with permute(epoch, places [K]) for pi."""
  epochs, rest = np.divmod(np.asarray(rows, np.int64), n)
  indices = np.empty_like(rest)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    indices[here] = permute(int(epoch), rest[here])
  return epochs, indices


def _generator(*key: int) -> np.random.RandomState:
  """NumPy's legacy generator: alone it draws the same in every version."""
  state = np.random.SeedSequence(key).generate_state(4)
  return np.random.RandomState(state)
