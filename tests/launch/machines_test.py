"""Plain machines: worker.sh itself, gpu_ssh.sh over a fake ssh, local.sh."""

from __future__ import annotations

import os
import pathlib
import signal
import time

import pytest

from tests.launch import sandbox as sandboxes

TRAIN = ['difjax', 'train', '--config=a.py', "--config.name=it's me"]
ENV = {'DIFJAX_HOSTS': 'me@gpu-a gpu-b', 'DIFJAX_SECRETS': 'secrets.env'}


def worker(sandbox, home, *argv, code=0):
  return sandbox.shell(
    ['bash', str(home / 'difjax' / 'launch' / 'worker.sh'), *argv],
    env={'HOME': str(home)}, code=code,
  )  # fmt: skip


def until(condition):
  """Waits at most ten seconds."""
  for _ in range(200):
    if condition():
      return
    time.sleep(0.05)
  pytest.fail('waited in vain')


def is_gone(pid):
  return not pathlib.Path(f'/proc/{pid}').exists()


def test_a_run_outlives_what_started_it_and_is_stopped(sandbox):
  home = sandbox.machine('gpu', 'wait')
  assert worker(sandbox, home, 'status') == 'difjax: lost\n'
  worker(sandbox, home, 'start', *TRAIN)
  assert worker(sandbox, home, 'status') == 'difjax: running\n'
  said = worker(sandbox, home, 'start', *TRAIN, code=2)
  assert 'stop it first' in said
  until((home / 'trained').exists)
  pid = int((home / 'difjax-run' / 'pid').read_text())
  worker(sandbox, home, 'stop')
  assert is_gone(pid)
  assert (home / 'difjax-run' / 'code').read_text() == '42\n'
  assert worker(sandbox, home, 'status') == 'difjax: stopped\n'


@pytest.mark.parametrize('code', [0, 3, 42])
def test_the_code_is_kept(sandbox, code):
  home = sandbox.machine('gpu', code)
  worker(sandbox, home, 'start', *TRAIN)
  until(lambda: worker(sandbox, home, 'status') == f'difjax: {code}\n')


def test_a_killed_run_has_the_shells_code(sandbox):
  home = sandbox.machine('gpu', 'wait')
  worker(sandbox, home, 'start', *TRAIN)
  os.kill(int((home / 'difjax-run' / 'pid').read_text()), signal.SIGKILL)
  until(lambda: worker(sandbox, home, 'status') == 'difjax: 137\n')


def test_logs_are_kept_over_starts(sandbox):
  home = sandbox.machine('gpu', 0)
  for word in ('first', 'second'):
    worker(sandbox, home, 'start', 'bash', '-c', f'echo {word}')
    until(lambda: worker(sandbox, home, 'status') == 'difjax: 0\n')
  assert 'first\nsecond\n' in worker(sandbox, home, 'logs')


def test_a_machine_with_an_old_python_gets_a_newer_one(sandbox):
  home = sandbox.machine('gpu')
  # No Python is new enough but the one that uv brings.
  sandbox.hook('python3', '[ "$1" = -m ] || exit 1\n')
  uv = home / '.local' / 'bin' / 'uv'
  uv.parent.mkdir(parents=True)
  uv.write_text('#!/bin/bash\necho "uv $*" >>"$HOME/asked"; echo bash\n')
  uv.chmod(0o755)
  worker(sandbox, home, 'install')
  assert sandbox.calls('python3')[-1][1:] == [
    '-m', 'pip', 'install', '--quiet', '--user', 'uv'
  ]  # fmt: skip
  assert (home / 'asked').read_text().splitlines() == [
    'uv python install --quiet 3.12', 'uv python find 3.12'
  ]  # fmt: skip


@pytest.fixture
def hosts(sandbox):
  """Two GPU machines that a fake ssh reaches."""
  (sandbox.repository / 'secrets.env').write_text(
    f'WANDB_API_KEY={sandboxes.SECRET}\n'
  )
  sandbox.hook('ssh', 'on "$root/$3" "$4"\n')
  sandbox.hook('scp', 'cp "$4" "$root/${5/:/\\/}"\n')
  return [sandbox.machine('me@gpu-a', 0, 0), sandbox.machine('gpu-b', 0, 42)]


def test_every_machine_is_told_its_place(sandbox, hosts):
  sandbox.run('gpu_ssh.sh', 'setup', env=ENV)
  sandbox.run('gpu_ssh.sh', 'run', *TRAIN, env=ENV | {'DIFJAX_PORT': '99'})
  for i, home in enumerate(hosts):
    until((home / 'difjax-run' / 'code').exists)
    trained = (home / 'trained').read_text()
    assert trained.split('\037')[:-1] == TRAIN[1:]
    told = set((home / 'environment').read_text().splitlines())
    assert told > {
      'DIFJAX_COORDINATOR=gpu-a:99', 'DIFJAX_NUM_PROCESSES=2',
      f'DIFJAX_PROCESS_ID={i}',
    }  # fmt: skip
    secrets = home / 'difjax-secrets'
    assert sandboxes.SECRET in secrets.read_text()
    assert secrets.stat().st_mode & 0o777 == 0o600
  status = '# me@gpu-a\ndifjax: 0\n# gpu-b\ndifjax: 0\n'
  until(lambda: sandbox.run('gpu_ssh.sh', 'status', env=ENV) == status)


def test_secrets_reach_the_run_and_nobody_else(sandbox, hosts):
  sandbox.run('gpu_ssh.sh', 'setup', env=ENV)
  show = ['bash', '-c', 'echo "${#WANDB_API_KEY} letters"']
  home = hosts[1]
  start = ['bash', str(home / 'difjax' / 'launch' / 'worker.sh'), 'start']
  bare = ['env', '-u', 'WANDB_API_KEY']
  sandbox.shell([*bare, *start, *show], env={'HOME': str(home)})
  until((home / 'difjax-run' / 'code').exists)
  said = worker(sandbox, home, 'logs')
  assert said == f'{len(sandboxes.SECRET)} letters\n'


def test_a_machine_that_does_not_answer_is_named(sandbox, hosts):
  del hosts
  sandbox.hook('ssh', '[ "$3" = gpu-b ] && exit 255; echo "difjax: 0"\n')
  said = sandbox.run('gpu_ssh.sh', 'status', env=ENV, code=1)
  assert said.splitlines() == ['# me@gpu-a', 'difjax: 0', '# gpu-b']
  sandbox.run('gpu_ssh.sh', 'run', *TRAIN, env=ENV, code=255)


def test_local_is_the_supervisor(sandbox):
  home = sandbox.root / 'home'
  (home / 'codes').write_text('5\n')
  sandbox.run('local.sh', '--processes=2', *TRAIN, env={}, code=5)
  assert (home / 'trained').read_text().split('\037')[:-1] == TRAIN[1:]
