"""Metrics on their way from the device to the writers, and the speed.

A row of metrics holds means over its steps, and of what only grows or is set
the last; `perf/` is of those steps too, `mem/` of the moment. Every time is
between the ends of two steps that follow each other, whatever happened in
between: waiting for data, hooks, saves. The step that compiles is left out
where others share its row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from difjax import errors
from difjax.training import distributed, facts, state, tracing, writers
from difjax.training import trainer as trainers
from difjax.typing import Array, Metrics

# What is not averaged, by the beginnings of the names.
_LAST = ('skipped', 'streak', 'learning_rate', 'ema/')


@dataclasses.dataclass(eq=False)
class _Row:
  """What is known of some steps.

  Attributes:
    metrics: of each.
    ends: when each was done.
    waits: seconds that each waited for its batch.
  """

  metrics: list[Metrics] = dataclasses.field(default_factory=list)
  ends: list[float] = dataclasses.field(default_factory=list)
  waits: list[float] = dataclasses.field(default_factory=list)


class Log:
  """Collects metrics on the device and writes their means a step late.

  Attributes:
    outputs: where to.
    waited: seconds that the next step has waited for its batch.
    blocked: seconds that checkpoints have held up the loop since the last row.
  """

  def __init__(
    self,
    trainer: trainers.Trainer,
    about: facts.Facts,
    outputs: tuple[writers.Writer, ...],
    tracer: tracing.Tracer,
  ) -> None:
    self._trainer = trainer
    self._facts = about
    self._tracer = tracer
    self._row = _Row()
    self._ended = time.monotonic()  # when the row before was done
    self._compiled = False
    self._dispatched: tuple[int, Metrics] | None = None  # not waited for yet
    self.outputs = outputs
    self.waited = 0.0
    self.blocked = 0.0

  def named(self, done: int) -> contextlib.AbstractContextManager:
    """Names what is dispatched within it, for traces, after its step."""
    return jax.profiler.StepTraceAnnotation('train', step_num=done)

  def push(self, done: int, metrics: Metrics) -> None:
    """Takes the metrics of a step that was dispatched, not yet done.

    It waits for the step before: one in the queue keeps the device busy.
    """
    self.flush()
    self._row.waits.append(self.waited)
    self._dispatched, self.waited = (done, metrics), 0.0
    self._tracer.push(done, metrics)

  def flush(self) -> None:
    """Waits for the step that came last, and writes the row that it ends."""
    if self._dispatched is None:
      return
    (done, metrics), self._dispatched = self._dispatched, None
    row = self._row
    jax.block_until_ready(metrics)
    row.metrics.append(metrics)
    row.ends.append(time.monotonic())
    if done % self._trainer.log_every == 0 or done == self._trainer.steps:
      self._row = _Row()
      self._write(done, row)

  def _write(self, done: int, row: _Row) -> None:
    rows = jax.device_get(row.metrics)
    values = {
      **_columns(rows),
      'train/examples': done * self._facts.batch_size,
      **self._speed(row),
      **_memory(),
    }
    if self.blocked:
      values['checkpoint/blocked_s'], self.blocked = self.blocked, 0.0
    for output in self.outputs:
      output.scalars(done, values)
    longest = max(int(each['streak']) for each in rows)
    if longest >= self._trainer.max_streak:
      raise errors.NonFiniteError(
        f'{longest} steps in a row were not finite or had gradients above '
        f'config.spike = {self._trainer.spike:g}, up to step {done}: lower '
        'config.optimiser.schedule or look at the data; the last checkpoint '
        'is finite'
      )

  def _speed(self, row: _Row) -> dict[str, float]:
    """Returns the speed of the steps of a row, which are done."""
    times, waits = np.diff([self._ended, *row.ends]), np.asarray(row.waits)
    self._ended = row.ends[-1]
    if not self._compiled and len(times) > 1:
      times, waits = times[1:], waits[1:]
    self._compiled = True
    seconds = max(float(times.mean()), 1e-9)
    median, slow = 1e3 * np.percentile(times, (50, 99))
    images = self._facts.batch_size / seconds
    mfu = self._facts.mfu(seconds)
    data = self._trainer.data
    return {
      'data/mb_per_s': images * data.source.stored_bytes / 1e6,
      'data/replaced': data.replaced,
      'perf/images_per_s': images,
      'perf/images_per_s_per_chip': images / self._facts.chips,
      'perf/steps_per_s': 1 / seconds,
      'perf/step_ms_p50': float(median),
      'perf/step_ms_p99': float(slow),
      'perf/data_wait_ms': 1e3 * float(waits.mean()),
      **({} if mfu is None else {'perf/mfu': mfu}),
    }


@contextlib.contextmanager
def opened(
  trainer: trainers.Trainer,
  workdir: pathlib.Path,
  mesh: jax.sharding.Mesh,
  abstract: state.TrainState,
  first: int,
) -> Iterator[Log]:
  """Says what a run is, and opens what is told of it.

  Args:
    trainer: the run.
    workdir: where files go.
    mesh: the devices.
    abstract: the state's shapes and shardings.
    first: steps done at the start.
  """
  about = facts.of(trainer, mesh, abstract)
  with contextlib.ExitStack() as stack:
    outputs = ()
    if distributed.is_first():
      facts.publish(about, workdir, first)
      outputs = _outputs(trainer, workdir, first)
    tracer = tracing.Tracer(trainer.profile, workdir, first)
    for part in (*outputs, tracer):
      stack.callback(part.close)
    yield Log(trainer, about, outputs, tracer)


def _outputs(
  trainer: trainers.Trainer, workdir: pathlib.Path, first: int
) -> tuple[writers.Writer, ...]:
  outputs = [
    writers.Console(total=trainer.steps, step=first),
    writers.JsonLines(workdir, first),
  ]
  if trainer.tensorboard:
    outputs.append(writers.TensorBoard(workdir, first))
  if trainer.wandb:
    outputs.append(writers.WandB(workdir, first, trainer.wandb))
  return tuple(outputs)


def timed(batches: Iterator[Any], log: Log) -> Iterator[Any]:
  """Passes batches on and counts the time that was waited for them."""
  while True:
    began = time.monotonic()
    item = next(batches, None)
    log.waited += time.monotonic() - began
    if item is None:
      return
    yield item


def _columns(rows: list[Metrics]) -> dict[str, float]:
  """Returns what a row says of the metrics of its steps."""
  found = {}
  for key in rows[0]:
    name = key if '/' in key else f'train/{key}'
    values = np.asarray([row[key] for row in rows])
    if values.ndim == 3:  # sums and counts, as `objectives.base` says
      for i, mean in enumerate(_quotients(values)):
        found[f'{name}{i}'] = float(mean)
    elif key.startswith(_LAST):
      found[name] = float(values[-1])
    else:
      found[name] = _mean(values)
  return found


def _quotients(values: Array) -> Array:
  """Divides sums by counts [steps, 2, k] to [k], NaN where nothing counts."""
  finite = np.isfinite(values[:, 0])
  sums, counts = np.where(finite[:, None], values, 0).sum(axis=0)
  return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _mean(values: Array) -> float:
  """Averages the finite values; a skipped step's are not."""
  finite = values[np.isfinite(values)]
  return float(np.mean(finite)) if len(finite) else float('nan')


def _memory() -> dict[str, float]:
  """Returns what the fullest device of this process has in use, in GiB."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  names = {'in_use': 'bytes_in_use', 'peak': 'peak_bytes_in_use'}
  return {
    f'mem/{name}_gib': max(found[key] for found in stats) / 2**30
    for name, key in names.items()
    if all(key in found for found in stats)
  }
