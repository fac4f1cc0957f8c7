"""Where a run begins: at its newest checkpoint, or at its first step."""

from __future__ import annotations

import logging
from typing import Any

import jax
import numpy as np

from difjax import errors
from difjax.training import checkpoint, state
from difjax.training import trainer as trainers

_LOG = logging.getLogger(__name__)


def start(
  trainer: trainers.Trainer,
  saver: checkpoint.Checkpointer,
  abstract: state.TrainState,
) -> state.TrainState:
  """Returns the state to go on from, on the devices.

  Args:
    trainer: the run.
    saver: of its work directory.
    abstract: the state's shapes and shardings.

  Raises:
    DataError: the checkpoint was made with another order of the data.
    CheckpointError: there are checkpoints, but none can be read; or there is
      no room for the next ones.
  """
  restored = saver.restore(abstract)
  if restored is None:
    saver.check_space(abstract, copies=2)
    placed = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    probe = trainer.data.rows(0, np.arange(1))
    first = lambda: trainers.initial(trainer, probe)
    return jax.jit(first, out_shardings=placed)()
  found, meta = restored
  now = meta_of(trainer, meta['step'])
  changed = {key: old for key, old in meta.items() if now.get(key) != old}
  if changed:
    spelled = [f'{key} = {old}' for key, old in changed.items()]
    raise errors.DataError(
      f'the checkpoint was written with {", ".join(spelled)}, this run has '
      f'{", ".join(str(now.get(key)) for key in changed)}: the order of the '
      'data would change; use another workdir'
    )
  if meta['step'] >= trainer.steps:
    _LOG.warning(
      'step %d of %d: nothing left to do; raise --config.steps',
      meta['step'], trainer.steps,
    )  # fmt: skip
  else:
    saver.check_space(abstract, copies=2)
  return found


def meta_of(trainer: trainers.Trainer, done: int) -> dict[str, Any]:
  """Returns what a checkpoint says of the run that made it."""
  return {
    'step': int(done),
    'batch_size': trainer.data.batch_size,
    'data_seed': trainer.data.seed,
    'window': trainer.data.window,
    'seed': trainer.seed,
    'fingerprint': trainer.data.source.fingerprint(),
  }
