"""Runs in processes of their own that are stopped, killed, hung and slowed.

Whatever happens, the state at the end is that of a run that was left alone: the
sha256 over parameters, moments, averages and counters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from difjax import pytree, supervisor, training
from difjax.training import events, goodput
from tests import tiny

ATTEMPT = [sys.executable, str(pathlib.Path(__file__).parent / 'attempt.py')]
HEARTBEAT = 10  # seconds, as attempt.py sets it
LIMIT = 900  # seconds until whatever runs is killed
RETRY = (42, -signal.SIGABRT)


@dataclasses.dataclass
class Group:
  """Processes of one run.

  Attributes:
    workdir: theirs.
    ranks: the processes.
  """

  workdir: pathlib.Path
  ranks: list[subprocess.Popen]

  def reach(self, step):
    """Waits for a step of the current attempt."""
    first = self.ranks[0]

    def reached():
      assert first.poll() is None, 'process 0 has ended'
      return rows(self.workdir, first.pid)[-1]['step'] >= step

    wait_for(reached)

  def codes(self, timeout=LIMIT):
    """Waits for the end."""
    return [rank.wait(timeout) for rank in self.ranks]


def rows(workdir, pid=None):
  """The rows of an attempt, of the last one by default; one of step -1 first.

  Args:
    workdir: of the run.
    pid: of the attempt's first process.
  """
  found = [{'step': -1}]
  for row in events.read(workdir):
    if 'pid' in row:
      found = [{'step': -1}]
    if 'from' in row or len(found) > 1:  # from the first step on
      found.append(row)
    if pid is not None and row.get('pid', pid) != pid:
      found = [{'step': -1}]
  return found


def wait_for(condition, timeout=LIMIT):
  until = time.monotonic() + timeout
  while not condition():
    assert time.monotonic() < until
    time.sleep(0.02)


def popen(command, **options):
  return subprocess.Popen(
    command, cwd=tiny.ROOT, env={**os.environ, 'PYTHONPATH': str(tiny.ROOT)},
    **options,
  )  # fmt: skip


@contextlib.contextmanager
def started(workdir, *flags, processes=2):
  """Starts the processes of a run; none outlives the block."""
  whole = [*ATTEMPT, f'--workdir={workdir}', *flags]
  ranks = [
    popen(command, stderr=(workdir.parent / f'stderr{i}').open('w'))
    for i, command in enumerate(supervisor.commands(whole, processes))
  ]
  try:
    yield Group(workdir, ranks)
  finally:
    for rank in ranks:
      rank.kill()
      rank.wait()


def digest(workdir):
  return (workdir / 'digest.txt').read_text()


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The digest of 60 steps on one device, left alone."""
  trainer = tiny.mean_trainer(mesh=tiny.OneDevice(), steps=60)
  return pytree.digest(training.train(trainer, tmp_path_factory.mktemp('one')))


def left_alone(workdir, *flags):
  """The digest of two processes that nothing happens to."""
  with started(workdir, *flags) as group:
    assert group.codes() == [0, 0]
  return digest(workdir)


@pytest.fixture(scope='module')
def together(tmp_path_factory):
  """The digest of 60 steps of two processes, left alone."""
  return left_alone(tmp_path_factory.mktemp('two') / 'run')


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 1])
def test_a_notice_to_one_of_two_stops_both(rank, together, tmp_path):
  workdir = tmp_path / 'run'
  with started(workdir, '--pause=0.1') as group:
    group.reach(7)
    group.ranks[rank].terminate()
    assert group.codes() == [42, 42]
  step = supervisor.newest(workdir)
  for i in range(2):
    told = (tmp_path / f'stderr{i}').read_text()
    assert f'preempted: step {step} is saved' in told
  with started(workdir) as group:
    assert group.codes() == [0, 0]
  assert digest(workdir) == together
  assert rows(workdir)[1]['from'] == step


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 1])
def test_the_survivor_of_a_kill_leaves_soon(rank, tmp_path):
  with started(tmp_path / 'run', '--pause=0.1') as group:
    group.reach(5)
    group.ranks[rank].kill()
    group.ranks[rank].wait()
    assert group.ranks[1 - rank].wait(HEARTBEAT + 5 + 20) in RETRY


@pytest.mark.slow
def test_a_hung_rank_ends_both(tmp_path):
  """One waits for its batch, the other in a collective."""
  late = ('--late_rank=1', '--late_start=10', '--late_seconds=5000')
  workdir = tmp_path / 'run'
  with started(workdir, '--patience=5', *late) as group:
    group.reach(5)
    codes = group.codes(timeout=120)
  assert 42 in codes
  assert set(codes) <= set(RETRY)
  stacks = [path.read_text() for path in workdir.glob('stacks-*.txt')]
  assert any('did no step for' in text for text in stacks)


@pytest.mark.slow
def test_a_notice_before_the_first_step_of_a_resumed_run_is_heard(
  together, tmp_path
):
  """Steps that were done before have numbers that nobody asks for again."""
  workdir = tmp_path / 'run'
  with started(workdir, '--pause=0.1') as group:
    group.reach(7)
    group.ranks[0].terminate()
    assert group.codes() == [42, 42]
  with started(workdir) as group:
    pid = group.ranks[0].pid
    wait_for(lambda: last_pid(workdir) == pid)
    os.kill(pid, signal.SIGTERM)
    assert group.codes() == [42, 42]
  with started(workdir) as group:
    assert group.codes() == [0, 0]
  assert digest(workdir) == together


@pytest.mark.slow
def test_a_slow_host_is_named(tmp_path):
  """Rank 1 gets its batches 300 ms late from step 20 on."""
  late = ('--late_rank=1', '--late_start=20', '--late_seconds=0.3')
  with started(tmp_path / 'run', *late) as group:
    assert group.codes() == [0, 0]
  told = (tmp_path / 'stderr0').read_text()
  assert f'rank 1 on {socket.gethostname()} is the slowest' in told
  assert 'is the slowest' not in (tmp_path / 'stderr1').read_text()
  found = {
    row['step']: row['slowest'] for row in rows(tmp_path / 'run')
    if 'slowest' in row
  }  # fmt: skip
  assert list(found) == [10, 20, 30, 40, 50, 60]
  assert all('rank 1' in found[step] for step in (30, 40, 50, 60))


def chaos(workdir, *flags, processes, kills, seed):
  """Supervises a run and kills it again and again; returns the account."""
  draw = random.Random(seed)
  steps = sorted(draw.sample(range(2, 57), kills))
  command = [
    sys.executable, '-m', 'difjax', 'supervise', f'--processes={processes}',
    '--backoff=0', '--stalled=99', '--grace=30', '--', *ATTEMPT,
    f'--workdir={workdir}', '--pause=0.1', '--save_every=4', *flags,
  ]  # fmt: skip
  child = popen(command)
  try:
    dead = None
    for i, step in enumerate(steps):
      before = dead
      wait_for(lambda old=before: last_pid(workdir) not in (None, old))
      dead = last_pid(workdir)
      if i % 3 < 2:
        wait_for(lambda least=step: rows(workdir)[-1]['step'] >= least)
      else:  # amid a save
        wait_for(lambda: list(workdir.glob('checkpoints/*tmp*')))
      victim = draw.choice(children(child.pid))
      number = signal.SIGTERM if i % 3 == 1 else signal.SIGKILL
      with contextlib.suppress(ProcessLookupError):
        os.kill(victim, number)
    assert child.wait(LIMIT) == 0
  finally:
    child.terminate()
    child.wait()
  found = goodput.measure(events.read(workdir))
  assert len(found.exits) >= kills + 1
  assert found.exits[-1] == 0
  assert abs(found.remainder) < 0.02 * found.wall
  return found


def last_pid(workdir):
  pids = [row['pid'] for row in events.read(workdir) if 'pid' in row]
  return pids[-1] if pids else None


def children(pid):
  """The processes that one has started."""
  file = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
  return [int(child) for child in file.read_text().split()]


LINUX = pytest.mark.skipif(
  not pathlib.Path('/proc/self/task').exists(), reason='reads /proc of Linux'
)


@LINUX
def test_two_kills_change_no_bit(alone, tmp_path):
  found = chaos(tmp_path / 'run', processes=1, kills=2, seed=0)
  assert digest(tmp_path / 'run') == alone
  assert 42 in found.exits
  assert None in found.exits
  assert found.steps == 60


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize('seed', [1, 2])
def test_twenty_kills_change_no_bit(seed, alone, tmp_path):
  chaos(tmp_path / 'run', processes=1, kills=20, seed=seed)
  assert digest(tmp_path / 'run') == alone


@LINUX
@pytest.mark.slow
def test_twenty_kills_of_two_processes_change_no_bit(tmp_path):
  """A notice is agreed on some steps ahead: there are more than for one."""
  chaos(tmp_path / 'run', '--steps=120', processes=2, kills=20, seed=3)
  whole = left_alone(tmp_path / 'whole', '--steps=120')
  assert digest(tmp_path / 'run') == whole
