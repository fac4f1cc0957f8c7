"""The managed jobs of SkyPilot, whose shell lines run here on fake machines."""

from __future__ import annotations

import pytest

from difjax import errors
from tests.launch import dry_run_test as runs
from tests.launch import sandbox as sandboxes

yaml = pytest.importorskip('yaml', reason='PyYAML is not installed')


@pytest.fixture(params=['tpu', 'gpu'])
def task(request):
  path = sandboxes.LAUNCH / 'sky' / f'{request.param}.yaml'
  return yaml.safe_load(path.read_text())


def command(sandbox, chip):
  """Returns the environment that sky.sh asks SkyPilot for."""
  sandbox.run('sky/sky.sh', chip, *runs.TRAIN, env={})
  [call] = sandbox.calls('sky')
  return dict([call[call.index('--env') + 1].split('=', 1)])


def run(sandbox, task, env, code=0):
  """Runs a task's lines as SkyPilot does, in the copied working directory."""
  machine = sandbox.machine('node', code)
  env = task['envs'] | env | {'HOME': str(machine)}
  lines = f'cd "$HOME/difjax" && {task["setup"]}\n{task["run"]}'
  sandbox.shell(['bash', '-c', lines], env=env, code=code)
  return machine


@pytest.mark.parametrize('chip', ['tpu', 'gpu'])
def test_the_users_command_runs(sandbox, chip):
  path = sandboxes.LAUNCH / 'sky' / f'{chip}.yaml'
  task = yaml.safe_load(path.read_text())
  env = command(sandbox, chip) | {
    'SKYPILOT_NODE_IPS': '10.0.0.1\n10.0.0.2', 'SKYPILOT_NODE_RANK': '1',
    'SKYPILOT_NUM_NODES': '2',
  }  # fmt: skip
  machine = run(sandbox, task, env)
  assert (machine / 'trained').read_text().split('\037')[:-1] == runs.TRAIN[1:]
  told = (machine / 'environment').read_text().splitlines()
  places = [line for line in told if 'PROCESS' in line or 'COORD' in line]
  # On a TPU slice jax asks the machine itself.
  assert places == ([] if chip == 'tpu' else [
    'DIFJAX_COORDINATOR=10.0.0.1:8476', 'DIFJAX_NUM_PROCESSES=2',
    'DIFJAX_PROCESS_ID=1',
  ])  # fmt: skip


@pytest.mark.parametrize('code', [3, 42])
def test_its_code_is_the_jobs(sandbox, code):
  path = sandboxes.LAUNCH / 'sky' / 'tpu.yaml'
  env = command(sandbox, 'tpu')
  run(sandbox, yaml.safe_load(path.read_text()), env, code)


def test_starts_again_after_42(task):
  recovery = task['resources']['job_recovery']
  assert recovery == {'recover_on_exit_codes': [errors.RetryError.exit_code]}


def test_secrets_are_handed_over_by_name(sandbox):
  env = {'DIFJAX_SECRET_NAMES': 'WANDB_API_KEY HF_TOKEN'}
  sandbox.run('sky/sky.sh', 'gpu', *runs.TRAIN, env=env)
  [call] = sandbox.calls('sky')
  names = [call[i + 1] for i, w in enumerate(call) if w == '--secret']
  assert names == ['WANDB_API_KEY', 'HF_TOKEN']


def test_a_failure_of_sky_is_the_launchers(sandbox):
  sandbox.hook('sky', 'exit 3\n')
  sandbox.run('sky/sky.sh', 'status', env={}, code=3)
