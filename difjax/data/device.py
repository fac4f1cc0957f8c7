"""Host batches onto devices, and bytes to the models' range and back.

Every process loads the rows that its own devices hold and no others, whatever
the order of devices in the mesh; rows that several of them share are loaded
once.

  x = (u - 127.5) / 127.5 = u / 127.5 - 1    for u in {0, ..., 255}      (1)
  u = clip(floor(127.5 x + 128), 0, 255)                                (2)
  x = (u + v) / 128 - 1,    v ~ U[0, 1)                                 (3)

(1) is evaluated in its first form: XLA multiplies by the reciprocal, and the
second form would then send 255 to 1 + 1.2e-7. (2) rounds to the nearest level
and inverts (1) for all 256 values.

(3) is uniform dequantisation: 256 intervals of width 1 / 128 fill [-1, 1], and
a density of x is then a likelihood of bytes. The middle of a level's interval
is (u - 127.5) / 128, which is (1) within half a grey level, so that a model of
the one is a model of the other; the scales differ since (1) puts the first and
the last level, and (3) the ends of their intervals, at -1 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from difjax.data import pipeline as pipelines
from difjax.typing import Array, Batch, Key

if TYPE_CHECKING:
  import jax


def place(
  load: pipelines.Load, batch_size: int, sharding: jax.sharding.Sharding
) -> Batch:
  """Makes the global arrays of one batch.

  Args:
    load: gives rows, e.g. functools.partial(pipeline.rows, step).
    batch_size: rows B of the global batch.
    sharding: how the first axis is spread; the other axes are left whole.

  Returns:
    jax.Array of shape [B, ...] for each key that `load` gives.
  """
  import jax

  held = sharding.addressable_devices_indices_map((batch_size,)).values()
  rows = np.unique(np.concatenate([_rows(i, batch_size) for i in held]))

  def spread(local: Array) -> jax.Array:
    def shard(index: tuple[slice, ...]) -> Array:
      return local[np.searchsorted(rows, _rows(index, batch_size))]

    shape = (batch_size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, shard)

  return {key: spread(value) for key, value in load(rows).items()}


def device_batches(
  pipeline: pipelines.Pipeline,
  start: int,
  stop: int | None,
  sharding: jax.sharding.Sharding,
) -> Iterator[tuple[int, Batch]]:
  """Yields (step, global batch) for steps start to stop, prefetched.

  Args:
    pipeline: what the batches are.
    start: first step.
    stop: one past the last step; None never ends.
    sharding: how the first axis is spread over the devices.
  """
  return pipeline.batches(
    start, stop, lambda load, step: place(load, pipeline.batch_size, sharding)
  )


def to_unit_range(x: Array) -> Array:
  """Bytes to float32 in [-1, 1] by equation (1); floats pass unchanged."""
  return x if x.dtype != np.uint8 else (x.astype(np.float32) - 127.5) / 127.5


def dequantise(x: Array, key: Key) -> Array:
  """Bytes to float32 in [-1, 1] by equation (3); floats pass unchanged."""
  import jax

  if x.dtype != np.uint8:
    return x
  v = jax.random.uniform(key, x.shape, np.float32)
  return (x.astype(np.float32) + v) / 128 - 1


def to_bytes(x: Array) -> Array:
  """Floats in [-1, 1] to the nearest uint8 by equation (2), numpy or jax."""
  levels = x.astype(np.float32) * 127.5 + 128
  return levels.clip(0, 255).astype(np.uint8)


def _rows(index: tuple[slice, ...], batch_size: int) -> Array:
  return np.arange(*index[0].indices(batch_size))
