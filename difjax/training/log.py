"""Metrics on their way from the device to the writers, and the speed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from difjax import errors
from difjax.training import trainer as trainers
from difjax.training import writers
from difjax.typing import Metrics


class Log:
  """Collects metrics on the device and writes their means a step late."""

  def __init__(
    self,
    trainer: trainers.Trainer,
    outputs: tuple[writers.Writer, ...],
    first: int,
  ) -> None:
    self._trainer = trainer
    self._outputs = outputs
    self._rows: list[Metrics] = []
    self._due: tuple[int, list[Metrics]] | None = None
    self._began = time.monotonic(), first  # when so many steps were done
    self._compiled = False
    self.waited = 0.0  # seconds, for data
    self.blocked = 0.0  # seconds, for checkpoints

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
    blocked, self.blocked = self.blocked, 0.0
    saves = {'checkpoint/blocked_s': blocked} if blocked else {}
    return {
      **saves,
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


def timed(batches: Iterator[Any], log: Log) -> Iterator[Any]:
  """Passes batches on and counts the time that was waited for them."""
  while True:
    began = time.monotonic()
    item = next(batches, None)
    log.waited += time.monotonic() - began
    if item is None:
      return
    yield item


def _mean(values: list[float]) -> float:
  """Averages the finite values; a skipped step's are not."""
  finite = [value for value in values if np.isfinite(value)]
  return float(np.mean(finite)) if finite else float('nan')
