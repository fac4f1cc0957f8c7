"""Hangs: what counts as one, and what is left of the process."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest

from difjax.training import watchdog
from tests import tiny

ATTEMPT = pathlib.Path(__file__).parent / 'attempt.py'


@pytest.fixture
def clock(monkeypatch):
  """A clock that only the test moves."""

  class Clock:
    now = 100.0

  monkeypatch.setattr(time, 'monotonic', lambda: Clock.now)
  return Clock


def test_the_limit_follows_the_median(clock, tmp_path):
  dog = watchdog.Watchdog(300.0, tmp_path / 'stacks')
  assert dog.limit() == 300
  for step, seconds in enumerate([0, 1000, 20, 20, 20, 1]):
    clock.now += seconds
    dog.beat(step)
  assert dog.limit() == 20 * 20
  dog.allow(slow=True)
  assert dog.limit() == 30 * 400
  dog.allow(slow=False)
  assert dog.limit() == 400


def test_whoever_moves_is_left_alone(tmp_path, monkeypatch):
  codes = []
  monkeypatch.setattr(os, '_exit', codes.append)
  with watchdog.Watchdog(1.0, tmp_path / 'stacks') as dog:
    for step in range(15):
      time.sleep(0.1)
      dog.beat(step)
    dog.allow(slow=True)
    time.sleep(1.5)
  assert codes == []
  assert not (tmp_path / 'stacks').exists()


def test_none_watches_nothing(tmp_path, monkeypatch):
  codes = []
  monkeypatch.setattr(os, '_exit', codes.append)
  with watchdog.Watchdog(None, tmp_path / 'stacks'):
    time.sleep(0.2)
  assert codes == []


def test_a_hang_leaves_stacks_and_code_42(tmp_path):
  """A batch of a run never comes."""
  began = time.monotonic()
  done = subprocess.run(
    [
      sys.executable, str(ATTEMPT), f'--workdir={tmp_path}', '--patience=2',
      '--late_rank=0', '--late_start=8', '--late_seconds=1000',
    ],
    cwd=tiny.ROOT, env={**os.environ, 'PYTHONPATH': str(tiny.ROOT)},
    capture_output=True, text=True, timeout=200, check=False,
  )  # fmt: skip
  assert done.returncode == 42, done.stderr
  assert 'did no step for' in done.stderr
  stacks = (tmp_path / 'stacks-0.txt').read_text()
  for text in (done.stderr, stacks):
    assert 'Current thread' in text
    assert 'attempt.py' in text  # where the loader sleeps
  last = (tmp_path / 'events.jsonl').read_text().splitlines()[-1]
  assert '"code": 42' in last
  assert time.monotonic() - began < 200
