"""A run in a process of its own, to be killed: `python attempt.py --workdir=`.

It ends with the exit codes of the command line, and writes the digest of the
last state to `digest.txt`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys
import time

os.environ['JAX_NUM_CPU_DEVICES'] = '1'

import jax

from difjax import data, environment, errors, pytree, training
from tests import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class Late(data.Pipeline):
  """Batches that are late on one process.

  Attributes:
    rank: which.
    start: from which step on.
    seconds: how late each is.
  """

  rank: int = -1
  start: int = 0
  seconds: float = 0.0

  def batches(self, start, stop, place):
    """Waits."""

    def late(load, step):
      if self.start <= step and jax.process_index() == self.rank:
        time.sleep(self.seconds)
      return place(load, step)

    return super().batches(start, stop, late)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pause:
  """A hook that makes a step last long enough to be killed in.

  Attributes:
    seconds: how long.
    every: 1.
  """

  seconds: float
  every: int = 1

  def __call__(self, run, step, state):
    """Waits."""
    time.sleep(self.seconds)


def main():
  """Trains as the flags say."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', type=pathlib.Path)
  parser.add_argument('--coordinator')
  for name, default in (
    ('num_processes', 1), ('process_id', 0), ('steps', 60), ('late_rank', -1),
    ('late_start', 1), ('save_every', 20),
  ):  # fmt: skip
    parser.add_argument(f'--{name}', type=int, default=default)
  for name, default in (
    ('pause', 0.0), ('late_seconds', 0.0), ('patience', 300.0)
  ):  # fmt: skip
    parser.add_argument(f'--{name}', type=float, default=default)
  flags = parser.parse_args()
  if flags.coordinator:
    jax.distributed.initialize(
      flags.coordinator, flags.num_processes, flags.process_id,
      heartbeat_timeout_seconds=10, shutdown_timeout_seconds=20,
    )  # fmt: skip
  plain = tiny.mean_trainer().data
  fields = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
  late = Late(
    **fields, rank=flags.late_rank, start=flags.late_start,
    seconds=flags.late_seconds,
  )  # fmt: skip
  trainer = tiny.mean_trainer(
    data=late, steps=flags.steps, patience=flags.patience,
    hooks=(Pause(seconds=flags.pause),) if flags.pause else (),
    checkpoints=training.Checkpoints(every=flags.save_every),
  )  # fmt: skip
  state = training.train(trainer, flags.workdir, began=environment.began())
  if not jax.process_index():
    (flags.workdir / 'digest.txt').write_text(pytree.digest(state))


if __name__ == '__main__':
  try:
    main()
  except errors.DifjaxError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
