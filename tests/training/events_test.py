"""The account of a run: every second once, whatever tears the file."""

from __future__ import annotations

import json
import math
import os
import time

import pytest

from difjax.training import events

Phase = events.Phase


@pytest.fixture
def clock(monkeypatch):
  """A clock that only the test moves, for both kinds of time."""

  class Clock:
    now = 1_000.0

  monkeypatch.setattr(time, 'time', lambda: Clock.now)
  monkeypatch.setattr(time, 'monotonic', lambda: Clock.now)
  return Clock


def test_rows_give_each_phase_its_seconds(clock, tmp_path):
  account = events.Events(tmp_path, began=990.0)
  account.enter(Phase.STEP)
  clock.now += 3
  assert account.enter(Phase.SAVE) is Phase.STEP
  clock.now += 2
  account.enter(Phase.STEP)
  clock.now += 4
  account.write('exit', {'code': 0})
  start, end = events.read(tmp_path)
  assert start['began'] == 990
  assert start['pid'] == os.getpid()
  assert start['seconds'] == {'init': 10}
  assert end['seconds'] == {'step': 7, 'save': 2}
  assert (end['time'], end['event'], end['code']) == (1009, 'exit', 0)
  assert account.totals == {
    **dict.fromkeys(Phase, 0.0), Phase.INIT: 10, Phase.STEP: 7, Phase.SAVE: 2
  }  # fmt: skip


def test_a_row_is_due_at_one_per_cent_and_at_a_minute(clock, tmp_path):
  account = events.Events(tmp_path, began=0.0)  # 1000 s ago: every 10 s
  account.enter(Phase.STEP)
  for step in range(1, 32):
    clock.now += 1
    account.beat(step)
  steps = [row['step'] for row in events.read(tmp_path)]
  assert steps == [0, 11, 22]
  clock.now += 1e6
  account.beat(32)
  for step in range(33, 33 + 62):
    clock.now += 1
    account.beat(step)
  assert [row['step'] for row in events.read(tmp_path)][-2:] == [32, 93]


def test_step_times_are_counted_within_a_twentieth(clock, tmp_path):
  account = events.Events(tmp_path, began=1_000.0)
  account.enter(Phase.COMPILE)
  clock.now += 50
  account.beat(1)  # not a step like others
  for step, (data, work) in enumerate([(0.01, 0.1), (0.02, 0.09), (1, 2)]):
    account.enter(Phase.DATA)
    clock.now += data
    account.enter(Phase.STEP)
    clock.now += work
    account.beat(step + 2)
    account.enter(Phase.HOOKS)
    clock.now += 7
  bins = {}
  account.write('exit', {})
  for row in events.read(tmp_path):
    for key, count in row.get('bins', {}).items():
      bins[key] = bins.get(key, 0) + count
  assert sorted(bins.values()) == [1, 2]
  short, long = sorted(map(events.seconds_of, bins))
  assert math.isclose(short, 0.11, rel_tol=0.026)
  assert math.isclose(long, 3.0, rel_tol=0.026)


def test_a_line_cut_short_is_left_alone(clock, tmp_path):
  events.Events(tmp_path, began=999.0)
  file = tmp_path / 'events.jsonl'
  with file.open('a') as stream:
    stream.write('{"time": 1001.0, "event": "st')
  clock.now += 5
  events.Events(tmp_path, began=1_004.0)
  assert [row['began'] for row in events.read(tmp_path)] == [999, 1004]
  lines = file.read_text().splitlines()
  assert len(lines) == 3
  assert json.loads(lines[2])['began'] == 1004


def test_an_attempt_begins_after_the_one_before(clock, tmp_path):
  """A notebook trains twice: its start does not count again."""
  events.Events(tmp_path, began=900.0)
  clock.now += 5
  events.Events(tmp_path, began=900.0)
  assert [row['began'] for row in events.read(tmp_path)] == [900, 1000]


def test_a_full_disk_ends_no_run(tmp_path, monkeypatch, caplog):
  account = events.Events(tmp_path, began=time.time())

  def full(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'write', full)
  account.write('exit', {'code': 0})
  assert 'No space left' in caplog.text
  assert len(events.read(tmp_path)) == 1


def test_other_processes_write_nothing(tmp_path):
  account = events.Events(None, began=time.time())
  account.beat(1)
  account.write('exit', {})
  assert not list(tmp_path.iterdir())
  assert events.read(tmp_path) == []
