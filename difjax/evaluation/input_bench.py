"""How fast tar shards become batches, beside webdataset on the same files.

Both sides shuffle, decode every image by the same function and stack batches;
neither has anything to do with them. Ours reads members of a window of shards
at random, webdataset reads shards from end to end through a shuffle buffer.
Each does so in one process, and with a process for each core (webdataset where
PyTorch is there): the faster of the two counts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from difjax.data import images, pipeline, shards

BATCH = 64
WINDOW = 4  # shards that we shuffle together
BUFFER = 1000  # samples that webdataset shuffles together
MISSING = 'pip install webdataset, to be measured beside it'
SUFFIXES = ';'.join(sorted(suffix[1:] for suffix in images.SUFFIXES))

_Batches = Iterator[Any]


def compare(
  path: str, size: int | None, batches: int, rounds: int
) -> dict[str, Any]:
  """Measures images a second.

  Args:
    path: a folder of indexed tars.
    size: side of the centre crop, None for images of one size.
    batches: of 64 images, in a round.
    rounds: of each side, in turn.

  Returns:
    Medians of images a second, by how it was read; `ratio`, our best over
    webdataset's, or `missing`, a line of what to install.

  Raises:
    DataError: the folder has no index, or is damaged.
  """
  source, ours, theirs = read(path, size, batches, rounds)
  figures: dict[str, Any] = {
    f'{name}_images_per_s': statistics.median(rates)
    for name, rates in {**theirs, **ours}.items()
  }
  figures['kilobytes_per_image'] = source.stored_bytes / 1e3
  if not theirs:
    return {**figures, 'missing': MISSING}
  mine, rival = (statistics.median(best(side)) for side in (ours, theirs))
  return {**figures, 'ratio': mine / rival}


def best(side: dict[str, list[float]]) -> list[float]:
  """The rounds of the way to read with the highest median."""
  return max(side.values(), key=statistics.median)


def read(
  path: str, size: int | None, batches: int, rounds: int
) -> tuple[shards.Shards, dict[str, list[float]], dict[str, list[float]]]:
  """Reads tars in every way that is installed, in turn.

  Args:
    path: as in `compare`.
    size: as in `compare`.
    batches: in a round.
    rounds: of each way.

  Returns:
    The source, and by way images a second of each round: ours, webdataset's.
  """
  source, cores = shards.Shards(path=path, size=size), os.cpu_count() or 1
  feed = functools.partial(
    pipeline.Pipeline, batch_size=BATCH, window=WINDOW
  )
  ways: dict[str, Callable[[], _Batches]] = {
    'ours': functools.partial(_ours, feed(source=source)),
    'ours_workers': functools.partial(
      _ours, feed(source=source, workers=cores)
    ),
  }
  mine = set(ways)
  if importlib.util.find_spec('webdataset') is not None:
    ways['webdataset'] = lambda: _webdataset(path, size, workers=0)
    if importlib.util.find_spec('torch') is not None:
      ways['webdataset_workers'] = lambda: _webdataset(path, size, cores)
  seen = {name: [] for name in ways}
  for _ in range(rounds):
    for name, begin in ways.items():
      seen[name].append(_rate(begin(), batches))
  of = lambda names: {name: seen[name] for name in names}
  return source, of(mine), of(seen.keys() - mine)


def rate(ours: pipeline.Pipeline, batches: int) -> float:
  """Returns images a second of a pipeline, over some batches."""
  return _rate(_ours(ours), batches)


def _ours(ours: pipeline.Pipeline) -> _Batches:
  rows = np.arange(ours.batch_size)
  for _, batch in ours.batches(0, None, lambda load, _: load(rows)):
    yield batch['image']


def _webdataset(path: str, size: int | None, workers: int) -> _Batches:
  import webdataset

  files = [str(file) for file in sorted(pathlib.Path(path).glob('*.tar'))]
  decode = functools.partial(images.decode, name=path, channels=3, size=size)
  dataset = (
    webdataset.WebDataset(files, shardshuffle=len(files), empty_check=False)
    .repeat().shuffle(BUFFER).to_tuple(SUFFIXES).map_tuple(decode)
    .batched(BATCH)
  )  # fmt: skip
  if workers:
    # A process that runs jax must not be forked.
    dataset = webdataset.WebLoader(
      dataset, batch_size=None, num_workers=workers,
      multiprocessing_context='spawn',
    )  # fmt: skip
  for (batch,) in dataset:
    yield batch


def _rate(batches: _Batches, count: int) -> float:
  """Images a second of some batches, once as many come as are consumed."""
  prepared = max(8, 3 * (os.cpu_count() or 1))  # PyTorch: two a process
  with contextlib.closing(batches):
    for _ in range(prepared):
      next(batches)
    began = time.perf_counter()
    read = sum(len(batch) for batch in itertools.islice(batches, count))
    return read / (time.perf_counter() - began)
