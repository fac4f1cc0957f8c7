"""Our side of the comparison, and theirs where it is installed."""

from __future__ import annotations

import pathlib
import re
import sys

import jax
import numpy as np
import pytest

from difjax import config, errors, pytree
from difjax.cli import arguments
from difjax.evaluation import feature_peer
from difjax.metrics import inception

CONFIG = pathlib.Path(__file__).parents[2] / 'configs/peers/inception.py'


class Idle(feature_peer.PytorchFidPeer):
  """Does nothing, in no time, and neither do we."""

  def actions(self):
    return 7, {'features': lambda: sum(range(1000))}

  def _ours(self):
    return 5, lambda: sum(range(100_000))


def test_both_sides_are_timed():
  found = Idle().compare(rounds=3)
  assert found['parameters'] == {'ours': 5, 'theirs': 7}
  low, high = found['features']['range']
  assert 0 < low <= found['features']['ratio'] <= high < 1
  assert found['features']['ours_s'] > found['features']['theirs_s'] > 0


def test_the_config_states_its_parameters():
  spec = arguments.config_file(str(CONFIG)).to_dict()
  peer = config.build(spec['peer'], path='config.peer')
  assert (peer.batch_size, peer.side) == (32, 32)
  made = jax.eval_shape(
    inception.Inception().init, jax.random.key(0), np.zeros((1, 299, 299, 3)))
  stated = re.search(r'^Parameters (\S+)', CONFIG.read_text(), re.MULTILINE)
  assert f'{pytree.count(made):,}' == stated[1]


def test_without_torch_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pytorch_fid', None)
  with pytest.raises(errors.ConfigError, match='pip install torch') as error:
    feature_peer.PytorchFidPeer().actions()
  assert '\n' not in str(error.value)
