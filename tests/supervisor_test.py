"""The supervisor: what it starts again, how often, and what it passes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from difjax import errors, supervisor
from tests import tiny


def script(tmp_path, codes, extra='pass'):
  """A command that ends with these codes in turn; a negative one is a signal.

  `extra` runs before; `n` is the attempt's number there.
  """
  file = tmp_path / 'command.py'
  file.write_text(f"""
import os, pathlib, sys, time
count = pathlib.Path({str(tmp_path)!r}) / 'count'
n = len(count.read_text()) if count.exists() else 0
count.write_text((n + 1) * '.')
{extra}
code = {codes!r}[n]
if code < 0:
  os.kill(os.getpid(), -code)
sys.exit(code)
""")
  return [sys.executable, '-S', str(file)]


def started(tmp_path):
  return len((tmp_path / 'count').read_text())


@pytest.mark.parametrize(
  ('codes', 'last'),
  [
    ([0], 0), ([42, 0], 0), ([42, 134, -9, -15, 0], 0), ([3], 3),
    ([42, 2, 0], 2), ([1, 0], 1), ([124, 0], 124), ([5, 0], 5),
  ],
  ids=str,
)  # fmt: skip
def test_what_asks_for_it_is_started_again(codes, last, tmp_path):
  found = supervisor.Supervisor(backoff=0).run(script(tmp_path, codes))
  assert found == last
  assert started(tmp_path) == codes.index(last) + 1


def test_restarts_are_bounded(tmp_path, capsys):
  command = script(tmp_path, 9 * [-9])
  assert supervisor.Supervisor(backoff=0, restarts=3).run(command) == 137
  assert started(tmp_path) == 4
  assert 'restart 3 of 3' in capsys.readouterr().err


def test_no_progress_is_the_end(tmp_path, capsys):
  """Steps 5 and 9 are saved, then nothing."""
  saved = "pathlib.Path(count.parent, 'checkpoints', '59999'[n]).mkdir(exist_ok=True, parents=True)"  # noqa: E501
  command = script(tmp_path, 9 * [42], saved)
  found = supervisor.Supervisor(backoff=0, stalled=2, workdir=tmp_path)
  assert found.run(command) == 42
  assert started(tmp_path) == 4
  assert 'nothing beyond step 9' in capsys.readouterr().err


def test_waits_grow_while_nothing_is_saved(tmp_path, monkeypatch):
  waits = []
  monkeypatch.setattr(
    supervisor._Children, 'sleep', lambda self, seconds: waits.append(seconds)
  )
  found = supervisor.Supervisor(backoff=3, stalled=9, workdir=tmp_path)
  found.run(script(tmp_path, [42, 42, 42, 0]))
  assert waits == [3, 6, 12]


def test_set_aside_and_unfinished_checkpoints_do_not_count(tmp_path):
  assert supervisor.newest(tmp_path) == 0
  for name in ('3', '12', '40.corrupt', '50.orbax-checkpoint-tmp-7', 'x'):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  assert supervisor.newest(tmp_path) == 12
  assert supervisor.newest(None) is None


def test_checkpoints_that_are_kept_elsewhere_count(tmp_path):
  bucket, workdir = tmp_path / 'bucket', tmp_path / 'run'
  workdir.mkdir()
  spec = {'checkpoints': {'directory': str(bucket)}}
  (workdir / 'config.json').write_text(json.dumps(spec))
  assert supervisor.newest(workdir) == 0
  (bucket / 'checkpoints' / '70').mkdir(parents=True)
  assert supervisor.newest(workdir) == 70


def test_a_command_that_is_not_there(tmp_path):
  with pytest.raises(errors.ConfigError, match='nowhere cannot be started'):
    supervisor.Supervisor().run([str(tmp_path / 'nowhere')])


def test_processes_are_told_of_each_other():
  first, second = supervisor.commands(['x', '--y'], 2)
  assert first[:2] == second[:2] == ['x', '--y']
  assert first[2] == second[2]
  assert first[2].startswith('--coordinator=127.0.0.1:')
  assert first[3:] == ['--num_processes=2', '--process_id=0']
  assert second[3:] == ['--num_processes=2', '--process_id=1']
  assert supervisor.commands(['x'], 1) == [['x']]


def by_rank(tmp_path, line):
  """A command whose processes run a line that knows its `rank`."""
  file = tmp_path / 'ranks.py'
  file.write_text(
    'import os, sys, time\n'
    "rank = int(sys.argv[-1].removeprefix('--process_id='))\n" + line
  )
  return [sys.executable, '-S', str(file)]


def test_a_mistake_of_one_process_counts_more_than_its_peers_loss(tmp_path):
  command = by_rank(tmp_path, 'sys.exit([42, 3, 134][rank])')
  assert supervisor.Supervisor(processes=3, backoff=0).run(command) == 3


def test_who_does_not_leave_in_time_is_killed(tmp_path):
  began = time.monotonic()
  command = by_rank(tmp_path, 'time.sleep(60 * rank)\nsys.exit(42)')
  found = supervisor.Supervisor(processes=2, restarts=0, grace=0.5)
  assert found.run(command) == 137
  assert time.monotonic() - began < 30


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_is_the_end(number, tmp_path):
  extra = f"""
import signal
signal.signal({number}, lambda *_: sys.exit(42))
print('ready', flush=True)
time.sleep(60)
"""
  command = script(tmp_path, [0, 0], extra)
  child = subprocess.Popen(
    [sys.executable, '-m', 'difjax', 'supervise', '--', *command],
    cwd=tiny.ROOT, stdout=subprocess.PIPE, text=True,
    env={**os.environ, 'PYTHONPATH': str(tiny.ROOT)},
  )  # fmt: skip
  assert child.stdout.readline() == 'ready\n'
  child.send_signal(number)
  assert child.wait(timeout=60) == 42
  assert started(tmp_path) == 1
