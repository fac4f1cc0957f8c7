"""`difjax doctor`."""

from __future__ import annotations

import pytest

from difjax import environment


@pytest.fixture
def installed(monkeypatch):
  """Pretends that everything is installed, or all but one."""

  def pretend(missing=None):
    found = {name: '1.2.3' for name in environment.PACKAGES}
    if missing:
      found[missing] = None
    monkeypatch.setattr(environment, 'versions', lambda: found)

  return pretend


def test_a_machine_that_can_train(installed, call):
  installed()
  code, out, err = call('doctor')
  assert (code, err) == (0, [])
  lines = out.splitlines()
  assert lines[0].startswith('Python 3.')
  assert 'cores' in lines[0]
  assert 'devices: 8 x cpu (cpu)' in lines
  assert 'step: a compiled matrix product is right' in lines
  assert lines[-1] == 'difjax can train here'
  for name in environment.PACKAGES:
    assert f'  {name:<22}1.2.3' in lines


def test_a_missing_package_is_named(installed, call):
  installed(missing='optax')
  code, out, err = call('doctor')
  assert code == 2
  assert f'  {"optax":<22}MISSING' in out.splitlines()
  assert err == [
    'difjax doctor: optax not installed: pip install -e . in the repository'
  ]


def test_versions_are_those_of_the_packages():
  import jax

  found = environment.versions()
  assert found['jax'] == jax.__version__
  assert set(found) == set(environment.PACKAGES)
