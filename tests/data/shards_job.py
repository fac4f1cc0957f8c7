"""A process of a job that reads tar shards and writes down what it got.

  python -m tests.data.shards_job FOLDER START STOP BATCH WINDOW OUT

It writes OUT/START-PROCESS.json: `held`, [step, row, value of the image] for
each row on its devices, and `read`, the samples that it read from the tars.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import sys

import jax
import numpy as np

from difjax import training
from difjax.data import device, pipeline, shards
from difjax.training import distributed
from difjax.training import mesh as meshes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded(shards.Shards):
  """Shards that know which samples were read."""

  @functools.cached_property
  def read(self):
    """Numbers of the samples, as they were read."""
    return []

  def __getitem__(self, i):
    """Reads and notes."""
    self.read.append(int(i))
    return super().__getitem__(i)


def main() -> None:
  """Reads the batches of some steps as training does."""
  distributed.initialize()
  start, stop, batch_size, window = map(int, sys.argv[2:6])
  source = Recorded(path=sys.argv[1])
  pipes = pipeline.Pipeline(
    source=source, batch_size=batch_size, window=window, threads=2
  )
  mesh = training.Mesh().build()
  held = []
  for step, batch in device.device_batches(
    pipes, start, stop, meshes.batch_sharding(mesh)
  ):
    for shard in batch['image'].addressable_shards:
      rows = np.arange(batch_size)[shard.index[0]].tolist()
      values = np.asarray(shard.data)[:, 0, 0, 0].tolist()
      held += [(step, *pair) for pair in zip(rows, values, strict=True)]
  path = pathlib.Path(sys.argv[6]) / f'{start}-{jax.process_index()}.json'
  path.write_text(json.dumps({'held': held, 'read': source.read}))


if __name__ == '__main__':
  main()
