"""States that tests save, and what they do with them again and again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from difjax import training
from tests import tiny

MANIFEST = 'difjax_manifest.json'


def state(step, width=64, mesh=tiny.FSDP):
  """Returns a state of random numbers, its matrices split over a mesh."""
  rng = np.random.default_rng(step)
  built = mesh.build()
  split = NamedSharding(built, PartitionSpec('fsdp'))
  whole = NamedSharding(built, PartitionSpec())
  numbers = lambda: {
    'w': jax.device_put(rng.standard_normal((64, width)).astype('f4'), split)
  }
  scalar = lambda n: jax.device_put(jnp.int32(n), whole)
  return training.TrainState(
    step=scalar(step), params=numbers(),
    opt_state=(scalar(step), numbers(), numbers()),
    ema={'main': numbers(), 'slow': numbers()},
    aux={'seen': scalar(7 * step)}, skipped=scalar(1), streak=scalar(0),
  )  # fmt: skip


def abstract(tree):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )


def opened(workdir, **options):
  return training.Checkpointer(workdir, training.Checkpoints(**options))


def saved(workdir, *steps, **options):
  """Saves states of some steps; returns the folder that they lie in."""
  saver = opened(workdir, **options)
  for step in steps:
    saver.save(state(step), {'step': step, 'note': 'kept'})
  saver.close()
  return workdir / 'checkpoints'


def restored(workdir, like=None):
  saver = opened(workdir)
  try:
    return saver.restore(abstract(state(0) if like is None else like))
  finally:
    saver.close()


def largest(folder):
  """Returns the file with most of a step's numbers."""
  files = [f for f in (folder / 'params').rglob('*') if f.is_file()]
  return max(files, key=lambda file: file.stat().st_size)


def flip_a_bit(step):
  file = largest(step)
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)
