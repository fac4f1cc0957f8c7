"""The lock: who is refused, and which locks are stale."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from difjax import errors
from difjax.training import lock
from tests import tiny

HOLD = """
import pathlib, sys, time
from difjax.training import lock

with lock.held(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  time.sleep(60)
"""


def holder(workdir):
  """Starts a process that holds the lock, and waits until it does."""
  process = subprocess.Popen(
    ['timeout', '-k', '1', '60', sys.executable, '-c', HOLD, workdir],
    stdout=subprocess.PIPE, text=True, cwd=tiny.ROOT,
    env={**os.environ, 'PYTHONPATH': str(tiny.ROOT)},
  )  # fmt: skip
  assert process.stdout.readline() == 'held\n'
  return process


def leave(workdir, host, pid=1):
  text = json.dumps({'host': host, 'pid': pid, 'since': '2026-01-01'})
  (workdir / lock.NAME).write_text(text)


def test_another_process_is_refused_until_it_is_killed(tmp_path, caplog):
  process = holder(tmp_path)
  try:
    for _ in range(2):
      with pytest.raises(errors.ConfigError) as caught, lock.held(tmp_path):
        pass
      said = json.loads((tmp_path / lock.NAME).read_text())
      assert f'process {said["pid"]} on {socket.gethostname()} since 2' in str(
        caught.value
      )
      assert '\n' not in str(caught.value)
      with pytest.raises(errors.ConfigError, match='is in use'):
        lock.check_free(tmp_path)
    os.kill(said['pid'], signal.SIGKILL)
  finally:
    process.stdout.read()  # ends with it
    process.wait()
  assert (tmp_path / lock.NAME).exists()
  lock.check_free(tmp_path)
  with lock.held(tmp_path):
    now = json.loads((tmp_path / lock.NAME).read_text())
    assert now['pid'] == os.getpid()
  assert f'was left by process {said["pid"]}' in caplog.text
  assert not (tmp_path / lock.NAME).exists()


def test_it_is_given_back_when_the_run_fails(tmp_path):
  with pytest.raises(ZeroDivisionError), lock.held(tmp_path):
    _ = 1 / 0
  assert list(tmp_path.iterdir()) == []
  with lock.held(tmp_path), pytest.raises(errors.ConfigError):
    lock.held(tmp_path).__enter__()


def test_a_lock_that_says_nothing_is_stale(tmp_path):
  """As of a process that died between making the file and writing it."""
  (tmp_path / lock.NAME).touch()
  with lock.held(tmp_path):
    pass


@pytest.fixture
def hasty(monkeypatch):
  """Makes hearts beat faster."""
  monkeypatch.setattr(lock, '_BEAT', 0.05)
  monkeypatch.setattr(lock, '_PATIENCE', 0.3)


def test_another_host_that_is_silent_is_gone(tmp_path, hasty, caplog):
  leave(tmp_path, host='elsewhere')
  with lock.held(tmp_path):
    pass
  assert 'left by process 1 on elsewhere' in caplog.text


def test_another_host_that_touches_the_file_lives(tmp_path, hasty):
  """Its kernel's lock is not seen here: as on file servers without locks."""
  leave(tmp_path, host='elsewhere')
  done = threading.Event()
  beat = threading.Thread(target=lock._touch, args=(tmp_path / lock.NAME, done))
  beat.start()
  try:
    with (
      pytest.raises(errors.ConfigError, match='process 1 on elsewhere'),
      lock.held(tmp_path),
    ):
      pass
  finally:
    done.set()
    beat.join()
  assert 'elsewhere' in (tmp_path / lock.NAME).read_text()


def test_the_holder_touches_it(tmp_path, hasty):
  with lock.held(tmp_path):
    first = (tmp_path / lock.NAME).stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / lock.NAME).stat().st_mtime_ns > first
