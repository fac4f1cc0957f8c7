"""A training run, whole, and the program that it compiles to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from difjax import compilation, errors
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
  tracing,
)
from difjax.training import ema as emas
from difjax.training import mesh as meshes
from difjax.typing import Batch, Metrics


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
    spike: norm of the gradient from which on a step is left out, as one that
      is not finite always is.
    max_streak: so many steps left out in a row end the run.
    patience: so many seconds without a step, or the time of 20 steps if that is
      longer, end the process with code 42; None: it may hang.
    tensorboard: whether event files are written beside `metrics.jsonl`.
    wandb: a project of Weights & Biases to log to; None: none.
    profile: which steps the profiler traces.
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
  spike: float = math.inf
  max_streak: int = 10
  patience: float | None = 300.0
  tensorboard: bool = True
  wandb: str | None = None
  profile: tracing.Profile = tracing.Profile()


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
    parts=trainer.optimiser.accumulate, spike=trainer.spike,
    dequantise=trainer.dequantise, augment=trainer.augment,
  )  # fmt: skip
  batches = meshes.batch_sharding(mesh)
  jitted = jax.jit(
    _telling(trainer, function),
    donate_argnums=0,
    in_shardings=(placed, batches),
    out_shardings=(placed, whole),
    compiler_options=compilation.options(),
  )
  return jitted, abstract


def abstract_batch(
  trainer: Trainer, mesh: jax.sharding.Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of a whole batch, as it comes onto the devices."""
  rows, placed = trainer.data.batch_size, meshes.batch_sharding(mesh)
  return {
    name: jax.ShapeDtypeStruct(
      (rows, *value.shape[1:]), value.dtype, sharding=placed
    )
    for name, value in trainer.data.rows(0, np.arange(1)).items()
  }


def _telling(trainer: Trainer, function: step.Step) -> step.Step:
  """Adds to a step's metrics the rates that it was made with.

  They are made in the step: a schedule that the host evaluates on a device
  waits for all steps that are queued there.
  """

  def told(
    now: state.TrainState, batch: Batch
  ) -> tuple[state.TrainState, Metrics]:
    following, metrics = function(now, batch)
    rates = {
      f'ema/decay_{name}': rule.decay(now.step)
      for name, rule in trainer.ema.items()
    }
    rate = trainer.optimiser.schedule(now.step)
    return following, {**metrics, 'learning_rate': rate, **rates}

  return told


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


def build_mesh(
  trainer: Trainer, devices: Sequence[jax.Device] | None = None
) -> jax.sharding.Mesh:
  """Arranges devices, those of this job by default.

  Raises:
    ConfigError: they do not fit the mesh, or the batch not them.
  """
  try:
    mesh = trainer.mesh.build(devices)
  except (ValueError, NotImplementedError) as error:  # the latter of a torus
    raise errors.ConfigError(f'config.mesh: {error}') from error
  shards, parts = meshes.batch_shards(mesh), trainer.optimiser.accumulate
  if parts < 1 or trainer.data.batch_size % (shards * parts):
    accumulated = f' in {parts} parts' if parts != 1 else ''
    raise errors.ConfigError(
      f'config.data.batch_size = {trainer.data.batch_size} cannot be split '
      f'over {shards} devices{accumulated}'
    )
  return mesh
