"""The training loop: one for every objective.

Around one compiled step with donated state: batches that are prepared ahead,
metrics that are fetched a step late so that the device never waits for the
host, checkpoints written in the background, hooks. The batch, the noise and the
times of step n are functions of (seed, n), so a run that is stopped and
started again is the run that was never stopped.
"""

from __future__ import annotations

import contextlib
import pathlib

import jax

from difjax import config
from difjax.data import device
from difjax.data import pipeline as pipelines
from difjax.training import (
  cadence,
  checkpoint,
  distributed,
  hooks,
  lock,
  preemption,
  resume,
  state,
  step,
  supervision,
)
from difjax.training import log as logs
from difjax.training import mesh as meshes
from difjax.training import trainer as trainers

Phase = supervision.Phase
_COMPARED = 10  # rows of metrics between two comparisons of the hosts


def train(
  trainer: trainers.Trainer,
  workdir: pathlib.Path,
  resume_step: int | None = None,
  began: float | None = None,
) -> state.TrainState:
  """Trains until `trainer.steps`, from the newest checkpoint if there is one.

  Args:
    trainer: the run.
    workdir: where checkpoints, metrics and pictures go.
    resume_step: go on from this step, later ones are moved aside; None: from
      the newest.
    began: when the process did, by `time.time`; None: now.

  Returns:
    The last state.

  Raises:
    ConfigError: batch, mesh and rules do not fit each other, there is no such
      step, or another run is at work in the work directory.
    DataError: data are malformed or are not those of the checkpoint.
    CheckpointError: a checkpoint cannot be written or read.
    NonFiniteError: `max_streak` steps in a row were left out.
    RetryError: the machine is wanted back; the last step is saved.
  """
  mesh = trainers.build_mesh(trainer)
  workdir.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    stack.enter_context(lock.held(workdir))
    watch = stack.enter_context(supervision.Supervision(
      workdir, patience=trainer.patience,
      compare_every=_COMPARED * trainer.log_every, began=began,
    ))  # fmt: skip
    _write_card(trainer.data, workdir)
    stack.enter_context(jax.set_mesh(mesh))
    saver = checkpoint.Checkpointer(workdir, trainer.checkpoints)
    stack.callback(saver.close)
    if resume_step is not None:
      saver.roll_back(resume_step)
    jitted, abstract = trainers.compiled(trainer, mesh)
    with watch.during(Phase.RESTORE):
      now = resume.start(trainer, saver, abstract)
    log = stack.enter_context(
      logs.opened(trainer, workdir, mesh, abstract, int(now.step))
    )
    run = hooks.Run(
      objective=trainer.objective, pipeline=trainer.data, workdir=workdir,
      mesh=mesh, writers=log.outputs,
      directory=trainer.checkpoints.directory,
    )  # fmt: skip
    return _steps(trainer, jitted, now, run, saver, log, watch)


def _steps(
  trainer: trainers.Trainer,
  jitted: step.Step,
  now: state.TrainState,
  run: hooks.Run,
  saver: checkpoint.Checkpointer,
  log: logs.Log,
  watch: supervision.Supervision,
) -> state.TrainState:
  """Steps from a state to the last one, which is saved.

  Raises:
    RetryError: as `train`.
  """
  first = int(now.step)
  batches = device.device_batches(
    trainer.data, first, trainer.steps, meshes.batch_sharding(run.mesh)
  )
  due = cadence.Cadence(trainer.checkpoints, trainer.steps)
  # Steps that are queued on several virtual CPU devices starve each other's
  # collectives; elsewhere one in the queue keeps the device busy.
  wait = run.mesh.size > 1 and jax.default_backend() == 'cpu'
  with contextlib.closing(batches), watch.running():
    for i, batch in watch.steps(logs.timed(batches, log)):
      done = i + 1
      with jax.transfer_guard('disallow'), log.named(done):
        now, metrics = jitted(now, batch)
      log.push(done, metrics)
      if wait or i == first:  # hosts compile for longer and for less long
        log.flush()
      leave = watch.beat(done) and done < trainer.steps
      if leave or due(done):
        log.flush()  # or the step's time would be the save's
        with watch.during(Phase.SAVE):
          log.blocked += saver.save(now, resume.meta_of(trainer, done))
      for hook in trainer.hooks:
        if done % hook.every == 0:
          with watch.during(Phase.HOOKS):
            hook(run, done, now)
      if leave:
        raise preemption.stopped(done)
    log.flush()
  return now


def _write_card(data: pipelines.Pipeline, workdir: pathlib.Path) -> None:
  """Notes what sampling has to know of the data."""
  source = data.source
  card = {
    'shape': list(data.shape),
    'num_classes': source.num_classes,
    'class_names': list(source.class_names),
    'fingerprint': source.fingerprint(),
  }
  if distributed.is_first():
    config.save(card, workdir / 'data.json')
