"""A process of a job that restores a run and prints the digest of its state.

  python -m tests.training.restored WORKDIR DATA FSDP TENSOR
"""

from __future__ import annotations

import pathlib
import sys

import jax

from difjax import pytree, training
from difjax.cli import train
from difjax.training import distributed
from difjax.training import trainer as trainers
from tests import job_config


def digest(workdir: pathlib.Path, sizes: tuple[int, int, int]) -> str:
  """Returns the digest of the newest checkpoint, restored onto a mesh."""
  config = job_config.get_config()
  for name, size in zip(('data', 'fsdp', 'tensor'), sizes, strict=True):
    config.mesh[name] = size
  trainer = train.build(config.to_dict())
  mesh = trainer.mesh.build(jax.devices()[: sizes[0] * sizes[1] * sizes[2]])
  with jax.set_mesh(mesh):
    _, abstract = trainers.compiled(trainer, mesh)
    saver = training.Checkpointer(workdir, trainer.checkpoints)
    state, _ = saver.restore(abstract)
    saver.close()
    return pytree.digest(distributed.whole(state))


def main() -> None:
  """Prints the digest."""
  distributed.initialize()
  sizes = tuple(int(size) for size in sys.argv[2:])
  print('digest', digest(pathlib.Path(sys.argv[1]), sizes))


if __name__ == '__main__':
  main()
