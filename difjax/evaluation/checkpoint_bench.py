"""How long training stands still for a checkpoint.

A save copies the state off the devices and is written behind the steps that
follow; what training waits for is the copy alone, unless the save before is
still being written. Of a run's time that is

  share = seconds blocked / (steps between two saves x seconds a step)     (1)
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from difjax.training import checkpoint, state
from difjax.training import trainer as trainers


def stall(
  trainer: trainers.Trainer,
  saves: int,
  step_ms: float,
  folder: pathlib.Path | None = None,
) -> dict[str, float]:
  """Times saves of a run's state, made of random numbers; compiles no step.

  Args:
    trainer: the run.
    saves: how many, after one that does not count.
    step_ms: of a step of that run.
    folder: on the storage to be measured; None: where temporary files go.

  Returns:
    Medians of the seconds that a save blocked and that it took to be written,
    the greatest blocked, the state's bytes, and the ratio (1).
  """
  size, pairs = rounds(trainer, saves, folder)
  blocked, written = zip(*pairs, strict=True)
  seconds = statistics.median(blocked)
  every = trainer.checkpoints.every
  return {
    'bytes': size,
    'blocked_s': seconds,
    'blocked_max_s': max(blocked),
    'written_s': statistics.median(written),
    'every': every,
    'step_ms': step_ms,
    'ratio': seconds / (every * 1e-3 * step_ms),
  }


def rounds(
  trainer: trainers.Trainer, saves: int, folder: pathlib.Path | None = None
) -> tuple[int, list[tuple[float, float]]]:
  """Saves a run's state again and again.

  Args:
    trainer: as in `stall`.
    saves: how many, after one that does not count.
    folder: as in `stall`.

  Returns:
    The state's bytes, and of each save the seconds for which it blocked and
    those until it was written.
  """
  mesh = trainers.build_mesh(trainer)
  options = dataclasses.replace(
    trainer.checkpoints, keep_latest=1, keep_every=None, directory=None
  )
  pairs = []
  with tempfile.TemporaryDirectory(dir=folder) as place, jax.set_mesh(mesh):
    saver = checkpoint.Checkpointer(pathlib.Path(place), options)
    now = _random(trainers.compiled(trainer, mesh)[1])
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(now))
    for i in range(saves + 1):
      now = _stepped(now)
      jax.block_until_ready(now)
      began = time.perf_counter()
      blocked = saver.save(now, {'step': i})
      saver.wait()
      pairs.append((blocked, time.perf_counter() - began))
    saver.close()
  return size, pairs[1:]


def _random(abstract: state.TrainState) -> state.TrainState:
  """Makes numbers that do not compress, placed as the run's are."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jax.device_put(
      rng.standard_normal(leaf.shape).astype(leaf.dtype), leaf.sharding
    ),
    abstract,
  )


@jax.jit
def _stepped(now: state.TrainState) -> state.TrainState:
  """Returns new arrays, as a step does: no copy on the host is kept of them."""
  return jax.tree.map(lambda leaf: leaf + jnp.ones((), leaf.dtype), now)
