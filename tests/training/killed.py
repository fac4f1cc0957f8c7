"""Trains in one of some processes that may be killed: run by `kill_test.py`.

  python killed.py WORKDIR RANK COUNT PORT

Tells on stdout what it does, and at the end the digest of the whole state.
"""

import dataclasses
import pathlib
import sys
import time

import jax
from jax.experimental import multihost_utils

from difjax import pytree, training
from difjax.training import manifest
from tests import tiny


class Telling:
  """A hook that tells of every step, and makes it last.

  Step 11 lasts until the save of step 8 is surely over.
  """

  every = 1

  def __call__(self, run, step, state):
    """Tells."""
    jax.block_until_ready(state)
    print('step', step, flush=True)
    time.sleep(5 if step == 11 else 0.02)


def slow_seal(folder, write=manifest.write):
  """Tells which step is being saved, long enough to be killed meanwhile."""
  print('saving', folder.name.split('.')[0], flush=True)
  time.sleep(0.5)
  write(folder)


def main():
  """Trains 12 steps and saves every fourth."""
  workdir, rank, count, port = sys.argv[1:]
  if int(count) > 1:
    jax.distributed.initialize(
      f'127.0.0.1:{port}', int(count), int(rank), heartbeat_timeout_seconds=10
    )
  manifest.write = slow_seal
  trainer = dataclasses.replace(
    tiny.mean_trainer(
      mesh=training.Mesh(data=1, fsdp=4),
      checkpoints=training.Checkpoints(every=4, keep_latest=3),
    ),
    hooks=(training.IndexLog(), Telling()),
  )
  state = training.train(trainer, pathlib.Path(workdir))
  if int(count) > 1:
    state = multihost_utils.process_allgather(state, tiled=True)
  print('digest', pytree.digest(state), flush=True)


main()
