"""Our side of the comparison, and theirs where it is installed."""

import pathlib
import re
import sys
import types

import jax
import numpy as np
import pytest

from difjax import config, errors, pytree
from difjax.cli import arguments
from difjax.evaluation import peers

FOLDER = pathlib.Path(__file__).parents[2] / 'configs' / 'peers'
CONFIGS = [FOLDER / 'dit.py', FOLDER / 'unet.py']


def spec(path):
  return arguments.config_file(str(path)).to_dict()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_parameters_are_those_stated(path):
  parts = spec(path)
  objective = config.build(parts['objective'], path='config.objective')
  peer = config.build(parts['peer'], path='config.peer')
  probe = {'image': np.zeros((2, *peer.shape), np.float32)}
  if peer.num_classes:
    probe['label'] = np.zeros(2, np.int32)
  made = jax.eval_shape(objective.init, jax.random.key(0), probe)
  stated = re.search(r'^Parameters (\S+)', path.read_text(), re.MULTILINE)
  assert f'{pytree.count(made):,}' == stated[1]


def test_without_torch_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'diffusers', None)
  peer = peers.DiffusersPeer(network='UNet2DModel', fields={}, shape=(8, 8, 1))
  with pytest.raises(errors.ConfigError, match='pip install torch diffusers'):
    peer.actions()


@pytest.mark.parametrize('backend', ['gpu', 'tpu'])
def test_a_peer_that_runs_elsewhere_is_no_peer(backend, monkeypatch):
  cpu = types.SimpleNamespace(is_available=lambda: True)
  cuda = types.SimpleNamespace(is_available=lambda: False)
  torch = types.ModuleType('torch')
  torch.cpu, torch.cuda, torch.__version__ = cpu, cuda, '2.0'
  monkeypatch.setitem(sys.modules, 'torch', torch)
  monkeypatch.setitem(sys.modules, 'diffusers', types.ModuleType('diffusers'))
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  peer = peers.DiffusersPeer(network='UNet2DModel', fields={}, shape=(8, 8, 1))
  with pytest.raises(errors.ConfigError, match=f'not run on the {backend}'):
    peer.actions()


class Idle(peers.DiffusersPeer):
  """Does nothing, in no time."""

  def actions(self):
    idle = lambda: None
    return 7, {'forward': idle, 'draw': idle, 'train': idle}


def test_both_sides_are_timed():
  parts = spec(FOLDER / 'dit.py')
  tiny = dict(depth=1, width=16, heads=2, num_classes=3)
  parts['objective']['network'].update(tiny)
  objective, optimiser = (
    config.build(parts[key], path=key) for key in ('objective', 'optimiser')
  )
  peer = Idle(
    network='', fields={}, shape=(4, 4, 4), num_classes=3, batch_size=2, draws=2
  )
  found = peers.compare(objective, optimiser, peer, rounds=3)
  assert found['parameters']['theirs'] == 7
  for name in ('forward', 'draw', 'train'):
    low, high = found[name]['range']
    assert 0 < low <= found[name]['ratio'] <= high < 1
    assert found[name]['ours_s'] > found[name]['theirs_s'] > 0
  assert sum(found['train']['shares'].values()) == pytest.approx(1)
