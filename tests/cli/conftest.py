"""A command line to call, and a run that it trained."""

from __future__ import annotations

import shutil

import pytest

from difjax import __main__
from tests import tiny

CONFIG = '--config=tests/tiny_config.py'


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
  """Runs where config files are found by their short names."""
  monkeypatch.chdir(tiny.ROOT)


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
  """The work directory of four steps of `tests/tiny_config.py`."""
  workdir = tmp_path_factory.mktemp('cli') / 'run'
  with pytest.MonkeyPatch.context() as patch, tiny.quick_compilation():
    patch.chdir(tiny.ROOT)
    code = __main__.main(
      ['train', CONFIG, f'--workdir={workdir}', '--config.steps=4']
    )
  assert code == 0
  return workdir


@pytest.fixture
def copied(trained, tmp_path):
  """A copy of that run to spoil."""
  return shutil.copytree(trained, tmp_path / 'run')


@pytest.fixture
def call(capsys):
  """Runs a command line; gives (exit code, stdout, lines of stderr)."""

  def run(*argv):
    capsys.readouterr()
    code = __main__.main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()

  return run


@pytest.fixture
def refused(call):
  """Runs a command line that must fail; gives its one line."""

  def run(code, *argv):
    found, out, err = call(*argv)
    assert found == code, err
    assert out == ''
    assert len(err) == 1, err
    assert err[0].startswith(f'difjax {argv[0]}: ')
    return err[0]

  return run
