"""The dispatcher: help at no cost, errors of one line, exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from difjax import __main__, errors
from difjax.cli import doctor
from tests import tiny

HEAVY = {'jax', 'flax', 'optax', 'numpy', 'tensorflow', 'sklearn', 'PIL'}


def fresh(script):
  """Runs a script in a new Python and returns what it prints."""
  done = subprocess.run(
    [sys.executable, '-c', script], check=True, text=True, cwd=tiny.ROOT,
    env={'PYTHONPATH': str(tiny.ROOT)}, capture_output=True,
  )  # fmt: skip
  return done.stdout


def test_import_and_help_import_nothing_heavy():
  script = """
import sys, time
import difjax
from difjax import __main__
assert __main__.main(['--help']) == 0
print(*sys.modules)
print(time.process_time())
"""
  *_, modules, seconds = fresh(script).splitlines()
  assert not HEAVY & set(modules.split())
  assert float(seconds) < 0.5


def test_flags_are_checked_before_jax_is_imported():
  """Also help, a config file that is not there, and an unknown verb."""
  verbs = [*__main__._VERBS]
  script = f"""
import sys
from difjax import __main__
def code(*argv):
  try:
    return __main__.main(list(argv))
  except SystemExit as stop:
    return stop.code
assert [code(verb, '--help') for verb in {verbs}] == {len(verbs)} * [0]
config = '--config=tests/tiny_config.py'
for argv in (
  ['trian'], ['train'], ['train', config], ['train', config, '--wrokdir=x'],
  ['train', '--config=nowhere.py', '--workdir=x'],
  ['train', config, '--workdir=x', '--config.steps=many'],
  ['sample', '--workdir=nowhere', '--out=x'], ['report', '--workdir=nowhere'],
):
  assert code(*argv) == 2, argv
print(*sys.modules)
"""
  assert not {'jax', 'flax', 'optax'} & set(fresh(script).split())


@pytest.mark.parametrize('argv', [[], ['--help'], ['-h'], ['help']])
def test_help_names_every_verb(argv, call):
  code, out, err = call(*argv)
  assert (code, err) == (0, [])
  for verb in (
    'train', 'sample', 'evaluate', 'report', 'export', 'convert', 'data',
    'bench', 'doctor',
  ):
    assert f'\n  {verb} ' in out


@pytest.mark.parametrize(
  'verb', ['train', 'sample', 'report', 'export', 'bench']
)
def test_help_of_a_verb_explains_its_flags(verb, capsys):
  with pytest.raises(SystemExit) as stop:
    __main__.main([verb, '--help'])
  assert stop.value.code == 0
  assert f'difjax {verb}' in capsys.readouterr().out


def test_an_unknown_verb_lists_those_there_are(refused):
  line = refused(2, 'trian', '--config=x')
  assert "'trian'" in line
  assert 'train, sample' in line


@pytest.fixture
def failing(monkeypatch):
  """Makes `difjax doctor` raise an error."""

  def fail(error):
    def raising(argv):
      raise error

    monkeypatch.setattr(doctor, 'main', raising)

  return fail


@pytest.mark.parametrize(
  ('error', 'code'),
  [
    (errors.ConfigError('x'), 2),
    (errors.NonFiniteError('x'), 3),
    (errors.DataError('x'), 4),
    (errors.CheckpointError('x'), 5),
    (errors.RetryError('x'), 42),
    (FileExistsError(17, 'x'), 2),
    (OSError(28, 'x'), 5),
    (KeyboardInterrupt(), 130),
  ],
  ids=lambda x: getattr(type(x), '__name__', ''),
)
def test_exit_codes(error, code, failing, refused):
  failing(error)
  refused(code, 'doctor')


def test_several_lines_become_one(failing, refused):
  failing(errors.ConfigError('one\ntwo'))
  assert refused(2, 'doctor') == 'difjax doctor: one two'


@pytest.mark.parametrize('error', [errors.DataError('x'), OSError(28, 'x')])
def test_debug_shows_the_traceback(error, failing):
  failing(error)
  with pytest.raises(type(error)):
    __main__.main(['doctor', '--debug'])


def test_our_own_mistakes_are_not_hidden(failing):
  failing(KeyError('a bug'))
  with pytest.raises(KeyError):
    __main__.main(['doctor'])


@pytest.mark.parametrize('argv', ['--help', 'doctor --help'])
def test_head_may_close_the_pipe(argv):
  """`difjax --help | head -1` says nothing about a broken pipe.

  The reader has left before anything is written.
  """
  script = f'(sleep 0.3; exec {sys.executable} -m difjax {argv}) | true'
  done = subprocess.run(
    script, shell=True, cwd=tiny.ROOT, capture_output=True, text=True,
    check=False,
  )  # fmt: skip
  assert done.stderr == ''
