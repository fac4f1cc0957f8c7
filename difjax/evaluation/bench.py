"""Ratios of times: what the loop and the sampler add to the network.

Both sides of a ratio are timed in turn within one run, and medians are
compared, so that a busy machine hurts them alike.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from difjax import compilation
from difjax.data import device
from difjax.evaluation import samples
from difjax.sampling import samplers
from difjax.training import checkpoint, hooks, loop, mesh, state
from difjax.training import step as steps
from difjax.training import trainer as trainers
from difjax.typing import Array, Batch, PyTree

BLOCK = 64  # images sampled at once
_POLL, _PATIENCE = 0.01, 120.0  # seconds, of the wait for a checkpoint
_Figures = dict[str, float]


def loop_overhead(
  trainer: trainers.Trainer, steps: int, rounds: int
) -> _Figures:
  """Times the training loop over the bare compiled step.

  Args:
    trainer: the run; its hooks are left out, and a checkpoint is begun once a
      round. What is left of its writing delays the bare steps, uncounted.
    steps: in a round.
    rounds: of each kind, after one that does not count.

  Returns:
    Milliseconds a step of both, and their ratio.
  """
  pairs = loop_rounds(trainer, steps, rounds)
  whole, bare = map(statistics.median, zip(*pairs, strict=True))
  return {
    'loop_ms': 1e3 * whole, 'bare_ms': 1e3 * bare, 'ratio': whole / bare
  }  # fmt: skip


def loop_rounds(
  trainer: trainers.Trainer, steps: int, rounds: int
) -> list[tuple[float, ...]]:
  """Returns seconds a step, of the loop and bare, of each round.

  Args:
    trainer: as in `loop_overhead`.
    steps: in a round.
    rounds: of each kind, after one that does not count.
  """
  watch = _Stopwatch(every=steps, trainer=trainer)
  timed = dataclasses.replace(
    trainer,
    steps=steps * (rounds + 1),
    hooks=(watch,),
    checkpoints=checkpoint.Checkpoints(every=steps),
  )
  with tempfile.TemporaryDirectory() as folder:
    loop.train(timed, pathlib.Path(folder))
  pairs = zip(watch.loop[1:], watch.bare[1:], strict=True)
  return [(whole / steps, bare / steps) for whole, bare in pairs]


def sampling_overhead(
  trainer: trainers.Trainer, sampler: samplers.Sampler, rounds: int
) -> _Figures:
  """Times a sampler over its evaluations times one call of the network.

  Args:
    trainer: of the objective, with fresh parameters.
    sampler: how to sample.
    rounds: of each kind, after one that does not count.

  Returns:
    Milliseconds of both, the evaluations, and the ratio.
  """
  count, pairs = sampling_rounds(trainer, sampler, rounds)
  whole, single = map(statistics.median, zip(*pairs, strict=True))
  return {
    'sampler_ms': 1e3 * whole, 'calls_ms': 1e3 * single,
    'evaluations': count, 'ratio': whole / single,
  }  # fmt: skip


def sampling_rounds(
  trainer: trainers.Trainer, sampler: samplers.Sampler, rounds: int
) -> tuple[int, list[tuple[float, ...]]]:
  """Times a sampler and as many calls of the network.

  Args:
    trainer: as in `sampling_overhead`.
    sampler: how to sample.
    rounds: of each kind, after one that does not count.

  Returns:
    The evaluations, and seconds of both for `BLOCK` images, of each round.
  """
  objective, source = trainer.objective, trainer.data.source
  probe = trainer.data.rows(0, np.arange(1))
  params = jax.jit(lambda: trainers.initial(trainer, probe).params)()
  indices = np.arange(BLOCK)
  labels = samples.default_labels(indices, source.num_classes)
  cond = samples.condition(labels)

  @functools.partial(jax.jit, compiler_options=compilation.options())
  def call(params: PyTree, x: Array, t: Array) -> Array:
    return jnp.clip(objective.denoiser(params, cond)(x, t).x0, -1, 1)

  x = objective.process.prior(jax.random.key(0), (BLOCK, *trainer.data.shape))
  t = jnp.asarray(objective.process.t_max)
  sampled = lambda: samples.compiled()(
    params, jnp.uint32(0), indices, labels, objective=objective,
    sampler=sampler, shape=trainer.data.shape,
  )  # fmt: skip
  count = int(np.max(sampled()[1]))

  def evaluated() -> None:
    now = x
    for _ in range(count):  # as a sampler does: one after the other
      now = call(params, now, t)
    jax.block_until_ready(now)

  drawn = lambda: jax.block_until_ready(sampled())
  return count, in_turn(rounds, drawn, evaluated)


@dataclasses.dataclass(eq=False)
class _Stopwatch:
  """A hook that ends a round of the loop and times one of bare steps."""

  every: int
  trainer: trainers.Trainer
  loop: list[float] = dataclasses.field(default_factory=list)
  bare: list[float] = dataclasses.field(default_factory=list)

  def __post_init__(self) -> None:
    self._since = time.perf_counter()

  def __call__(self, run: hooks.Run, done: int, now: state.TrainState) -> None:
    """Notes the loop's round, then runs and notes the bare one."""
    jax.block_until_ready(now)
    self.loop.append(time.perf_counter() - self._since)
    step, copy, batch = self._prepared(run, now)
    _await_checkpoint(run, done)
    self.bare.append(seconds(
      lambda: run_steps(step, copy, batch, self.every, run.mesh)
    ))  # fmt: skip
    self._since = time.perf_counter()

  def _prepared(self, run: hooks.Run, now: state.TrainState):
    if not hasattr(self, '_step'):
      self._step, _ = trainers.compiled(self.trainer, run.mesh)
    data, placed = self.trainer.data, mesh.batch_sharding(run.mesh)
    batch = device.place(
      lambda rows: data.rows(0, rows), data.batch_size, placed
    )
    copy = jax.block_until_ready(jax.tree.map(jnp.copy, now))
    return self._step, copy, batch


def _await_checkpoint(run: hooks.Run, done: int) -> None:
  """Waits for what is written behind the loop, or in vain: the loop says why.

  Orbax gives a folder its name when all is in it.
  """
  folder = run.workdir / 'checkpoints' / str(done)
  until = time.perf_counter() + _PATIENCE
  while not folder.exists() and time.perf_counter() < until:
    time.sleep(_POLL)


def run_steps(
  step: steps.Step,
  now: state.TrainState,
  batch: Batch,
  count: int,
  devices: jax.sharding.Mesh,
) -> state.TrainState:
  """Runs a compiled step some times on one batch, until all are done.

  Args:
    step: as `trainers.compiled` gives it.
    now: the state before, which is used up.
    batch: on its devices.
    count: of steps.
    devices: of the step.
  """
  for _ in range(count):
    now, metrics = step(now, batch)
    if devices.size > 1 and jax.default_backend() == 'cpu':
      jax.block_until_ready(metrics)  # as the loop must there
  return jax.block_until_ready(now)


def in_turn(
  rounds: int, *actions: Callable[[], object]
) -> list[tuple[float, ...]]:
  """Times actions in turn; returns seconds of each, round by round.

  Args:
    rounds: after one that does not count.
    *actions: each runs until it is done.
  """
  for action in actions:
    action()
  return [tuple(map(seconds, actions)) for _ in range(rounds)]


def seconds(action: Callable[[], object]) -> float:
  """Returns how long an action takes."""
  began = time.perf_counter()
  action()
  return time.perf_counter() - began
