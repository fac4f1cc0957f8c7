"""Processes that are killed between saves and as they save: no bit changes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests import tiny

pytestmark = pytest.mark.slow
HEARTBEAT = 10.0  # as killed.py asks of jax


def free_port():
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


def started(workdir, count):
  """Starts the processes of a run."""
  port = free_port()
  script = tiny.ROOT / 'tests' / 'training' / 'killed.py'
  environment = {
    **os.environ, 'PYTHONPATH': str(tiny.ROOT), 'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(4 // count),
  }  # fmt: skip
  return [
    subprocess.Popen(
      ['timeout', '-k', '1', '180', sys.executable, script, workdir,
       str(rank), str(count), str(port)],
      stdout=subprocess.PIPE, text=True, cwd=tiny.ROOT, env=environment,
      stderr=(workdir.parent / f'stderr{rank}').open('a'),
    )
    for rank in range(count)
  ]  # fmt: skip


def finished(processes, workdir):
  """Waits for a run that ends; returns its digest."""
  said = [process.communicate()[0] for process in processes]
  assert [process.returncode for process in processes] == [0] * len(said), (
    workdir.parent / 'stderr0'
  ).read_text()[-2000:]
  digests = {text.split('digest ')[1].strip() for text in said}
  assert len(digests) == 1
  return digests.pop()


def seen(workdir):
  rows = {}
  for line in (workdir / 'indices.jsonl').read_text().splitlines():
    row = json.loads(line)
    assert rows.setdefault(row['step'], row) == row
  return rows


@pytest.fixture(scope='module', params=[1, 2], ids=['alone', 'pair'])
def whole(request, tmp_path_factory):
  """A run that nobody disturbs: its folder, processes and digest."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  return (
    workdir,
    request.param,
    finished(started(workdir, request.param), workdir),
  )


@pytest.mark.parametrize(
  ('line', 'rank', 'left'),
  [('saving 8', 0, {'4'}), ('step 11', -1, {'4', '8'})],
  ids=['as it saves', 'between saves'],
)
def test_a_killed_run_goes_on_bit_for_bit(line, rank, left, whole, tmp_path):
  reference, count, expected = whole
  workdir = tmp_path / 'run'
  processes = started(workdir, count)
  for said in processes[0].stdout:
    if said.strip() == line:
      break
  for step in left:  # a save may still be under way behind the steps
    while not (workdir / 'checkpoints' / step).exists():
      time.sleep(0.02)
  victim = processes[rank]
  children = f'/proc/{victim.pid}/task/{victim.pid}/children'
  with open(children) as stream:  # of timeout
    os.kill(int(stream.read().split()[0]), signal.SIGKILL)
  since = time.monotonic()
  for process in processes:
    process.stdout.read()
    assert process.wait() != 0
  assert time.monotonic() - since < HEARTBEAT + 5
  steps = {path.name for path in (workdir / 'checkpoints').iterdir()}
  assert {name for name in steps if name.isdigit()} == left
  assert finished(started(workdir, count), workdir) == expected
  steps = {path.name for path in (workdir / 'checkpoints').iterdir()}
  assert steps == {'4', '8', '12'}  # no leavings
  assert seen(workdir) == seen(reference)
