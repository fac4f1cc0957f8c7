"""Rows of metrics, from steps whose numbers and times are made by hand."""

from __future__ import annotations

import types

import numpy as np
import pytest

from difjax import training
from difjax.training import facts, log, writers
from tests import tiny

FACTS = facts.Facts(
  devices='4 x chip', chips=4, mesh={}, parameters=0, state_bytes=0,
  device_bytes=0, copied_bytes=0, batch_size=8, batch_bytes=0,
  flops=300, examples=0, read_bytes=0, peak=1000.0,
)  # fmt: skip


class Rows:
  """A writer that keeps what it is given."""

  def __init__(self):
    self.found = {}

  def scalars(self, step, values):
    """Keeps."""
    self.found[step] = values


def written(monkeypatch, ends, metrics, waits=None, about=FACTS, log_every=4):
  """Returns the rows of a run that began at 0 s."""
  told = iter([0.0, *ends])
  monkeypatch.setattr(
    log, 'time', types.SimpleNamespace(monotonic=lambda: next(told))
  )
  rows, tracer = Rows(), types.SimpleNamespace(push=lambda *_: None)
  trainer = types.SimpleNamespace(
    log_every=log_every, steps=len(ends), max_streak=3, spike=np.inf,
    data=types.SimpleNamespace(
      source=types.SimpleNamespace(stored_bytes=50_000),
      replaced=2,
    ),
  )
  made = log.Log(trainer, about, (rows,), tracer)
  for i, each in enumerate(metrics):
    made.waited += waits[i] if waits else 0.0
    made.push(i + 1, {'loss': 1.0, 'streak': 0, 'skipped': 0, **each})
  made.flush()
  return rows.found


def test_times_are_between_the_ends_of_steps(monkeypatch):
  """Steps of 1, 2, 3 s after one that compiled; then 1, 1, 1 and 9 s."""
  ends = [50.0, 51.0, 53.0, 56.0, 57.0, 58.0, 59.0, 68.0]
  first, second = written(monkeypatch, ends, [{}] * 8).values()
  assert first['perf/steps_per_s'] == pytest.approx(3 / 6)
  assert first['perf/images_per_s'] == pytest.approx(8 * 3 / 6)
  assert first['data/mb_per_s'] == pytest.approx(0.05 * 8 * 3 / 6)
  assert first['data/replaced'] == 2
  assert first['perf/images_per_s_per_chip'] == pytest.approx(2 * 3 / 6)
  assert first['perf/step_ms_p50'] == pytest.approx(2000)
  assert second['perf/steps_per_s'] == pytest.approx(4 / 12)
  assert second['perf/step_ms_p50'] == pytest.approx(1000)
  # Between the third and the fourth of 1, 1, 1, 9: 97 hundredths of the way.
  assert second['perf/step_ms_p99'] == pytest.approx(1000 + 8000 * 0.97)


def test_a_row_of_the_first_step_alone_holds_its_compilation(monkeypatch):
  rows = written(monkeypatch, [50.0, 51.0], [{}] * 2, log_every=1)
  assert rows[1]['perf/step_ms_p50'] == pytest.approx(50_000)
  assert rows[2]['perf/step_ms_p50'] == pytest.approx(1000)


def test_mfu_is_work_over_time_and_peak(monkeypatch):
  """300 operations in 2 s at a peak of 1000 a second."""
  rows = written(monkeypatch, [9.0, 11.0, 13.0, 15.0], [{}] * 4)
  assert rows[4]['perf/mfu'] == pytest.approx(300 / 2 / 1000)


def test_no_peak_no_mfu(monkeypatch):
  about = facts.Facts(**{**vars(FACTS), 'peak': None})
  rows = written(monkeypatch, [1.0, 2.0, 3.0, 4.0], [{}] * 4, about=about)
  assert 'perf/mfu' not in rows[4]


def test_waits_are_those_of_the_steps_of_the_row(monkeypatch):
  waits = [7.0, 0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0]
  rows = written(monkeypatch, [*map(float, range(8))], [{}] * 8, waits)
  assert rows[4]['perf/data_wait_ms'] == pytest.approx(200)  # first left out
  assert rows[8]['perf/data_wait_ms'] == pytest.approx(250)


def test_means_last_values_and_names(monkeypatch):
  metrics = [
    {'loss': n, 'skipped': n, 'learning_rate': 0.1 * n, 'ema/decay_main': n}
    for n in (1.0, 2.0, np.nan, 6.0)
  ]
  row = written(monkeypatch, [1.0, 2.0, 3.0, 4.0], metrics)[4]
  assert row['train/loss'] == 3.0
  assert row['train/skipped'] == 6.0
  assert row['train/learning_rate'] == pytest.approx(0.6)
  assert row['ema/decay_main'] == 6.0
  assert row['train/examples'] == 32


def test_parts_of_batches_are_means_over_their_images(monkeypatch):
  """Three parts; of the last there is no image, and a step was skipped."""
  steps = [
    [[6.0, 1.0, 0.0], [2.0, 1.0, 0.0]],
    [[0.0, 5.0, 0.0], [0.0, 1.0, 0.0]],
    [[np.nan, np.nan, np.nan], [1.0, 1.0, 1.0]],
    [[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
  ]
  metrics = [{'loss_t': np.asarray(step)} for step in steps]
  row = written(monkeypatch, [1.0, 2.0, 3.0, 4.0], metrics)[4]
  assert row['train/loss_t0'] == (6 + 0 + 3) / 3
  assert row['train/loss_t1'] == (1 + 5) / 2
  assert np.isnan(row['train/loss_t2'])
  assert 'train/loss_t' not in row


class Device:
  """A device that counts its memory, or does not."""

  def __init__(self, **counts):
    self.counts = counts

  def memory_stats(self):
    """Returns the counts."""
    return self.counts or None


@pytest.mark.parametrize(('devices', 'expected'), [
  ([Device()], {}),
  ([Device(bytes_in_use=2**30), Device(bytes_in_use=3 * 2**30)],
   {'mem/in_use_gib': 3.0}),
  ([Device(bytes_in_use=2**30, peak_bytes_in_use=2**31)],
   {'mem/in_use_gib': 1.0, 'mem/peak_gib': 2.0}),
])  # fmt: skip
def test_memory_where_it_is_counted(devices, expected, monkeypatch):
  monkeypatch.setattr(log.jax, 'local_devices', lambda: devices)
  row = written(monkeypatch, [1.0, 2.0], [{}] * 2)[2]
  assert {k: v for k, v in row.items() if k.startswith('mem/')} == expected


def test_batches_are_passed_on_and_their_times_added(monkeypatch):
  seconds = iter([0.0, 3.0, 10.0, 14.0, 20.0, 20.0])
  monkeypatch.setattr(
    log, 'time', types.SimpleNamespace(monotonic=lambda: next(seconds))
  )
  noted = types.SimpleNamespace(waited=0.0)
  assert list(log.timed(iter('ab'), noted)) == ['a', 'b']
  assert noted.waited == 7.0


def test_a_run_writes_all_that_it_knows(tmp_path):
  """On a machine without a peak and without counts of its memory."""
  training.train(tiny.trainer(steps=3, mesh=tiny.OneDevice()), tmp_path)
  rows = writers.read_metrics(tmp_path)
  assert set(rows[-1]) == {
    'step', 'train/loss', 'train/grad_norm', 'train/param_norm',
    'train/update_norm', 'train/learning_rate', 'train/skipped',
    'train/streak', 'train/examples', 'ema/decay_main',
    *(f'train/loss_t{i}' for i in range(4)),
    'data/mb_per_s', 'data/replaced',
    'perf/images_per_s', 'perf/images_per_s_per_chip', 'perf/steps_per_s',
    'perf/step_ms_p50', 'perf/step_ms_p99', 'perf/data_wait_ms',
  }  # fmt: skip
  # The average's decay after n steps is (1 + n) / (10 + n).
  assert [row['ema/decay_main'] for row in rows] == pytest.approx(
    [1 / 10, 2 / 11, 3 / 12]
  )
