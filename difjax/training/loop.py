"""The training loop: one for every objective.

Around one compiled step with donated state: batches that are prepared ahead,
metrics that are fetched a step late so that the device never waits for the
host, checkpoints written in the background, hooks. The batch, the noise and the
times of step n are functions of (seed, n), so a run that is stopped and
started again is the run that was never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from difjax import config, errors
from difjax.data import device
from difjax.data import pipeline as pipelines
from difjax.objectives import base
from difjax.training import (
  augmentation,
  checkpoint,
  hooks,
  optimisers,
  sharding,
  state,
  step,
  writers,
)
from difjax.training import ema as emas
from difjax.training import mesh as meshes
from difjax.typing import Metrics

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
  """A training run, whole.

  Attributes:
    objective: what is trained.
    data: on what, in which order.
    steps: until when.
    optimiser: how.
    ema: the averages to keep, by name.
    mesh: the devices.
    rules: how parameters lie on them.
    checkpoints: what is saved.
    hooks: what else happens.
    seed: of parameters, noise and times (the data have their own).
    dequantise: whether bytes become reals with uniform noise, as likelihoods
      want them (`data.device`, equation 3).
    augment: random changes to the images that the network is told of.
    log_every: steps between two rows of metrics, which are means over them.
    max_streak: so many non-finite steps in a row end the run.
    tensorboard: whether event files are written beside `metrics.jsonl`.
    wandb: a project of Weights & Biases to log to; None: none.
  """

  objective: base.Objective
  data: pipelines.Pipeline
  steps: int
  optimiser: optimisers.Optimiser = optimisers.Optimiser()
  ema: Mapping[str, emas.EMA] = dataclasses.field(default_factory=dict)
  mesh: meshes.Mesh = meshes.Mesh()
  rules: tuple[sharding.Rule, ...] = (
    sharding.Rule(pattern='.*', tactic=sharding.FSDP()),
  )
  checkpoints: checkpoint.Checkpoints = checkpoint.Checkpoints()
  hooks: tuple[hooks.Hook, ...] = ()
  seed: int = 0
  dequantise: bool = False
  augment: augmentation.Augmentation | None = None
  log_every: int = 50
  max_streak: int = 10
  tensorboard: bool = True
  wandb: str | None = None


def compiled(
  trainer: Trainer, mesh: jax.sharding.Mesh
) -> tuple[step.Step, state.TrainState]:
  """Compiles nothing yet: returns the jitted step and the abstract state.

  Raises:
    ConfigError: the network does not fit the data, or the rules the network.
  """
  transformation = trainer.optimiser.transformation()
  probe = trainer.data.rows(0, np.arange(1))

  try:
    abstract = jax.eval_shape(lambda: initial(trainer, probe))
  except ValueError as error:  # the network says what does not fit the data
    reason = str(error).splitlines()[0]
    raise errors.ConfigError(f'config.objective: {reason}') from error
  placed = sharding.shardings(abstract, trainer.rules, mesh)
  abstract = jax.tree.map(
    lambda leaf, place: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=place
    ),
    abstract,
    placed,
  )
  whole = meshes.replicated(mesh)
  function = step.make_step(
    trainer.objective, transformation, trainer.ema, trainer.seed,
    dequantise=trainer.dequantise, augment=trainer.augment,
  )  # fmt: skip
  batches = meshes.batch_sharding(mesh)
  jitted = jax.jit(
    function,
    donate_argnums=0,
    in_shardings=(placed, batches),
    out_shardings=(placed, whole),
  )
  return jitted, abstract


def initial(trainer: Trainer, batch: Mapping[str, Any]) -> state.TrainState:
  """Makes the state before the first step."""
  batch = {**batch, 'image': device.to_unit_range(jnp.asarray(batch['image']))}
  return step.init_state(
    trainer.objective,
    trainer.optimiser.transformation(),
    trainer.ema,
    batch,
    trainer.seed,
  )


def train(trainer: Trainer, workdir: pathlib.Path) -> state.TrainState:
  """Trains until `trainer.steps`, from the newest checkpoint if there is one.

  Args:
    trainer: the run.
    workdir: where checkpoints, metrics and pictures go.

  Returns:
    The last state.

  Raises:
    ConfigError: batch, mesh and rules do not fit each other.
    DataError: data are malformed or are not those of the checkpoint.
    CheckpointError: a checkpoint cannot be written or read.
    NonFiniteError: `max_streak` steps in a row were not finite.
  """
  mesh = _mesh(trainer)
  workdir.mkdir(parents=True, exist_ok=True)
  _write_card(trainer.data, workdir)
  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.set_mesh(mesh))
    saver = checkpoint.Checkpointer(workdir, trainer.checkpoints)
    stack.callback(saver.close)
    jitted, abstract = compiled(trainer, mesh)
    now = _start(trainer, saver, abstract)
    first = int(now.step)
    outputs = _writers(trainer, workdir, first)
    for output in outputs:
      stack.callback(output.close)
    run = hooks.Run(
      objective=trainer.objective, pipeline=trainer.data, workdir=workdir,
      mesh=mesh, writers=outputs,
    )  # fmt: skip
    batches = device.device_batches(
      trainer.data, first, trainer.steps, meshes.batch_sharding(mesh)
    )
    stack.callback(batches.close)
    log = _Log(trainer, outputs, first)
    # Steps that are queued on several virtual CPU devices starve each other's
    # collectives; elsewhere the queue is what keeps the device busy.
    wait = mesh.size > 1 and jax.default_backend() == 'cpu'
    for i, batch in _timed(batches, log):
      with jax.transfer_guard('disallow'):
        now, metrics = jitted(now, batch)
      done = i + 1
      if wait:
        jax.block_until_ready(metrics)
      log.push(done, metrics)
      if done % trainer.checkpoints.every == 0 or done == trainer.steps:
        log.flush()
        saver.save(now, _meta(trainer, done))
      for hook in trainer.hooks:
        if done % hook.every == 0:
          hook(run, done, now)
    log.flush()
    return now


def _mesh(trainer: Trainer) -> jax.sharding.Mesh:
  try:
    mesh = trainer.mesh.build()
  except ValueError as error:
    raise errors.ConfigError(f'config.mesh: {error}') from error
  shards = meshes.batch_shards(mesh)
  if trainer.data.batch_size % shards:
    raise errors.ConfigError(
      f'config.data.batch_size = {trainer.data.batch_size} cannot be split '
      f'over {shards} devices'
    )
  return mesh


class _Log:
  """Collects metrics on the device and writes their means a step late."""

  def __init__(
    self,
    trainer: Trainer,
    outputs: tuple[writers.Writer, ...],
    first: int,
  ) -> None:
    self._trainer = trainer
    self._outputs = outputs
    self._rows: list[Metrics] = []
    self._due: tuple[int, list[Metrics]] | None = None
    self._began = time.monotonic(), first  # when so many steps were done
    self._compiled = False
    self.waited = 0.0

  def push(self, done: int, metrics: Metrics) -> None:
    """Takes the metrics of a step that was dispatched, not yet done."""
    self._write()  # the row before this step: its numbers are there by now
    self._rows.append(metrics)
    if done % self._trainer.log_every == 0 or done == self._trainer.steps:
      self._due, self._rows = (done, self._rows), []
    elif not self._compiled:  # where others follow, they are timed alone
      jax.block_until_ready(metrics)
      self._began, self.waited = (time.monotonic(), done), 0.0
    self._compiled = True

  def flush(self) -> None:
    """Writes the row that is due, waiting for it."""
    self._write()

  def _speed(self, done: int) -> dict[str, float]:
    """Returns the speed up to a step that has just been waited for."""
    (since, first), self._began = self._began, (time.monotonic(), done)
    n = done - first
    seconds = max(self._began[0] - since, 1e-9) / n
    waited, self.waited = self.waited / n, 0.0
    return {
      'perf/images_per_s': self._trainer.data.batch_size / seconds,
      'perf/steps_per_s': 1 / seconds,
      'perf/data_wait_ms': 1e3 * waited,
    }

  def _write(self) -> None:
    if self._due is None:
      return
    done, rows = self._due
    self._due = None
    rows = jax.device_get(rows)
    perf = self._speed(done)
    counters = ('skipped', 'streak')
    values = {
      f'train/{key}': float(rows[-1][key])
      if key in counters
      else _mean([row[key] for row in rows])
      for key in rows[0]
    }
    values['train/learning_rate'] = float(
      self._trainer.optimiser.schedule(done - 1)
    )
    for output in self._outputs:
      output.scalars(done, {**values, **perf})
    longest = max(int(row['streak']) for row in rows)
    if longest >= self._trainer.max_streak:
      raise errors.NonFiniteError(
        f'{longest} steps in a row were not finite, up to step {done}: lower '
        'config.optimiser.schedule or look at the data; the last checkpoint '
        'is finite'
      )


def _mean(values: list[float]) -> float:
  """Averages the finite values; a skipped step's are not."""
  finite = [value for value in values if np.isfinite(value)]
  return float(np.mean(finite)) if finite else float('nan')


def _timed(batches: Iterator[Any], log: _Log) -> Iterator[Any]:
  """Passes batches on and counts the time that was waited for them."""
  while True:
    began = time.monotonic()
    item = next(batches, None)
    log.waited += time.monotonic() - began
    if item is None:
      return
    yield item


def _start(
  trainer: Trainer,
  saver: checkpoint.Checkpointer,
  abstract: state.TrainState,
) -> state.TrainState:
  restored = saver.restore(abstract)
  if restored is None:
    placed = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    probe = trainer.data.rows(0, np.arange(1))
    return jax.jit(lambda: initial(trainer, probe), out_shardings=placed)()
  found, meta = restored
  now = _meta(trainer, meta['step'])
  for key, value in meta.items():
    if now.get(key) != value:
      raise errors.DataError(
        f'the checkpoint was written with {key} = {value}, this run has '
        f'{now.get(key)}: the order of the data would change; use another '
        'workdir'
      )
  if meta['step'] >= trainer.steps:
    _LOG.warning(
      'step %d of %d: nothing left to do; raise --config.steps',
      meta['step'], trainer.steps,
    )  # fmt: skip
  return found


def _meta(trainer: Trainer, done: int) -> dict[str, Any]:
  return {
    'step': int(done),
    'batch_size': trainer.data.batch_size,
    'data_seed': trainer.data.seed,
    'seed': trainer.seed,
    'fingerprint': trainer.data.source.fingerprint(),
  }


def _writers(
  trainer: Trainer, workdir: pathlib.Path, first: int
) -> tuple[writers.Writer, ...]:
  if jax.process_index():
    return ()
  outputs = [
    writers.Console(total=trainer.steps, step=first),
    writers.JsonLines(workdir, first),
  ]
  if trainer.tensorboard:
    outputs.append(writers.TensorBoard(workdir, first))
  if trainer.wandb:
    outputs.append(writers.WandB(workdir, first, trainer.wandb))
  return tuple(outputs)


def _write_card(data: pipelines.Pipeline, workdir: pathlib.Path) -> None:
  """Notes what sampling has to know of the data."""
  source = data.source
  card = {
    'shape': list(data.shape),
    'num_classes': source.num_classes,
    'class_names': list(source.class_names),
    'fingerprint': source.fingerprint(),
  }
  if not jax.process_index():
    config.save(card, workdir / 'data.json')
