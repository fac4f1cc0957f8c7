"""The batch as a function of the step.

Row r of step t has the number g = t B + r, which `order.Order` maps to an
epoch and an example. A run needs no iterator state: step, seed, batch size and
the source's fingerprint say everything about what comes next, for any number
of hosts.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import TypeVar

import numpy as np

from difjax import errors
from difjax.data import order, transforms, workers
from difjax.data import source as sources
from difjax.typing import Array, Batch, Shape

Load = Callable[[Array], Batch]  # rows [R] of one step's batch -> their content
Placed = TypeVar('Placed')

CHUNK = 16  # fewest rows worth a thread, or a worker, of their own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
  """Shuffled, augmented batches of a source.

  Attributes:
    source: where examples come from.
    batch_size: rows B of the global batch.
    seed: keys order and augmentation.
    transforms: applied to each example, in this order.
    threads: how many read and decode; None: two a core, eight at most, or two
      for each of the workers.
    workers: processes that read, decode and transform in place of this one,
      whose threads only ask them; 0 for none.
    prefetch: how many batches are prepared ahead of the consumer, at once.
    window: how many shards of the source are shuffled together, so that few
      are read at a time; None shuffles all examples.
  """

  source: sources.Source
  batch_size: int
  seed: int = 0
  transforms: tuple[transforms.Transform, ...] = ()
  threads: int | None = None
  workers: int = 0
  prefetch: int = 2
  window: int | None = None

  def __post_init__(self) -> None:
    if self.workers < 0 or min(
      self.batch_size, self._threads, self.prefetch
    ) < 1:
      raise errors.ConfigError(
        f'batch_size={self.batch_size}, threads={self._threads} and '
        f'prefetch={self.prefetch} of a pipeline must all be at least 1, and '
        f'workers={self.workers} at least 0'
      )

  @functools.cached_property
  def order(self) -> order.Permuted:
    """Which example each row holds."""
    if self.window is None:
      return order.Order(seed=self.seed, n=len(self.source))
    return order.Windowed(
      seed=self.seed, chunks=self.source.chunks, window=self.window
    )

  @functools.cached_property
  def shape(self) -> Shape:
    """Shape (H, W, C) of an image after the transforms."""
    return self.rows(0, np.arange(1))['image'].shape[1:]

  def indices(self, step: int) -> tuple[Array, Array]:
    """Epochs and examples, int64 [B] each, of a step's global batch."""
    return self._numbers(step, np.arange(self.batch_size))

  def rows(self, step: int, rows: Array) -> Batch:
    """Content of some rows of a step's global batch, on the host.

    Args:
      step: training step, from 0.
      rows: int [R], each below `batch_size`.

    Returns:
      image [R, H, W, C] uint8 and, where known, label [R] int32.
    """
    return self.read(*self._numbers(step, rows))

  def read(self, epochs: Array, indices: Array) -> Batch:
    """Examples `indices` [R] as they are seen in `epochs` [R], like `rows`."""
    if not self.transforms:
      return self.source.take(indices)
    pairs = zip(epochs.tolist(), indices.tolist(), strict=True)
    return sources.stack([self._changed(*pair) for pair in pairs])

  @property
  def replaced(self) -> int:
    """Damaged examples so far for which another one stands in."""
    started = vars(self).get('_workers')  # a property that starts them
    return started.replaced if started else self.source.replaced

  def batches(
    self, start: int, stop: int | None, place: Callable[[Load, int], Placed]
  ) -> Iterator[tuple[int, Placed]]:
    """Prepares the batches of steps start, start + 1, ... in the background.

    Args:
      start: first step.
      stop: one past the last step; None never ends.
      place: turns (load, step) into what the consumer wants, where load(rows)
        gives rows of that step; it runs in several threads, for several steps
        at once, so that what loads never waits for the last row of a step.

    Yields:
      (step, what `place` made). What a thread raises is raised here, as is.
    """
    steps = itertools.count(start) if stop is None else range(start, stop)
    waiting = collections.deque()
    read = self._workers.read if self.workers else self.read
    parts = self.workers or self._threads
    with (
      _pool(self._threads) as loaders,
      _pool(self.prefetch + 1) as feeders,
    ):
      for step in steps:
        load = lambda rows, step=step: _spread(
          loaders, parts, read, *self._numbers(step, rows)
        )
        waiting.append((step, feeders.submit(place, load, step)))
        if len(waiting) > self.prefetch:
          yield _first(waiting)
      while waiting:
        yield _first(waiting)

  @property
  def _threads(self) -> int:
    if self.threads is not None:
      return self.threads
    return workers.AHEAD * self.workers or min(8, 2 * (os.cpu_count() or 1))

  @functools.cached_property
  def _workers(self) -> workers.Workers:
    alone = dataclasses.replace(self, workers=0)  # without what is cached here
    return workers.Workers(alone, self.workers)

  def _numbers(self, step: int, rows: Array) -> tuple[Array, Array]:
    return self.order.index(step * self.batch_size + np.asarray(rows, np.int64))

  def _changed(self, epoch: int, index: int) -> dict[str, Array]:
    rng = np.random.default_rng((self.seed, epoch, index))
    example = self.source[index]
    for transform in self.transforms:
      example = transform(example, rng)
    return example


def sweep(
  source: sources.Source, batch_size: int, threads: int = 8
) -> Iterator[Batch]:
  """Reads a source once, in its own order; the last batch may be smaller."""
  with _pool(threads) as pool:
    for start in range(0, len(source), batch_size):
      stop = min(start + batch_size, len(source))
      yield _spread(pool, threads, source.take, np.arange(start, stop))


def _spread(
  pool: futures.Executor, parts: int, read: Callable[..., Batch], *rows: Array
) -> Batch:
  """Same as read(*rows), in so many parts at once, fewer for few rows."""
  parts = min(parts, len(rows[0]) // CHUNK)
  if parts < 2:
    return read(*rows)
  cut = [np.array_split(numbers, parts) for numbers in rows]
  found = list(pool.map(read, *cut))
  return {key: np.concatenate([x[key] for x in found]) for key in found[0]}


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[futures.Executor]:
  """Threads that drop what they have not begun when the block is left."""
  pool = futures.ThreadPoolExecutor(threads, thread_name_prefix='difjax-data')
  try:
    yield pool
  finally:
    pool.shutdown(cancel_futures=True)


def _first(
  waiting: collections.deque[tuple[int, futures.Future[Placed]]],
) -> tuple[int, Placed]:
  step, future = waiting.popleft()
  return step, future.result()
