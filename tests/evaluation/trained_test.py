"""A trained model as it is read from its work directory."""

from __future__ import annotations

import json

import jax
import pytest

from difjax import config, errors, pytree, training
from difjax.cli import train
from difjax.evaluation import trained
from tests import tiny, tiny_mean_config

TRUST = ('tests',)  # the objective is one of theirs


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A work directory with two averages, and the state that it ended in."""
  workdir = tmp_path_factory.mktemp('trained')
  spec = tiny_mean_config.get_config().to_dict()
  spec['steps'] = 3
  spec['ema']['fast'] = dict(type='training.ConstantEMA', rate=0.5)
  with tiny.quick_compilation():
    state = training.train(train.build(spec), workdir)
  config.save(spec, workdir / 'config.json')
  return workdir, state


@pytest.mark.parametrize('name', ['main', 'fast', ''])
def test_the_average_that_is_asked_for(name, run):
  workdir, state = run
  model = trained.load(workdir, ema=name, trust=TRUST)
  expected = state.ema[name] if name else state.params
  assert pytree.digest(model.params) == pytree.digest(expected)


def test_averages_differ(run):
  _, state = run
  trees = [state.params, *state.ema.values()]
  assert len({pytree.digest(tree) for tree in trees}) == 3


def test_what_sampling_needs_to_know(run):
  workdir, _ = run
  model = trained.load(workdir, trust=TRUST)
  assert model.shape == (8, 8, 1)
  assert model.num_classes == 10
  assert model.class_names == tuple('0123456789')
  assert model.step == 3
  assert model.config == json.loads((workdir / 'config.json').read_text())
  assert model.objective == tiny.Mean()
  devices = {d for x in jax.tree.leaves(model.params) for d in x.devices()}
  assert len(devices) == 1


def test_an_unknown_average_is_named(run):
  workdir, _ = run
  with pytest.raises(errors.ConfigError, match="'mane', but fast, main"):
    trained.load(workdir, ema='mane', trust=TRUST)


def test_a_folder_that_is_no_run(tmp_path):
  with pytest.raises(errors.ConfigError, match=r'config\.json is not there'):
    trained.load(tmp_path)


def test_names_of_strangers_need_trust(run):
  workdir, _ = run
  with pytest.raises(errors.ConfigError, match='--trust=tests'):
    trained.load(workdir)


def test_what_enlarges_images_is_refused_in_one_line(tmp_path):
  objective = dict(
    type='objectives.Denoising', process=dict(type='processes.VP'),
    target=dict(type='denoising.Noise'), network=dict(type='networks.UNet'),
    low_res=dict(type='denoising.AveragePool', factor=4),
  )  # fmt: skip
  config.save({'objective': objective}, tmp_path / 'config.json')
  card = dict(shape=[8, 8, 1], num_classes=0, class_names=[])
  (tmp_path / 'data.json').write_text(json.dumps(card))
  with pytest.raises(errors.ConfigError, match='enlarges images') as error:
    trained.load(tmp_path, ema='', needs='denoiser')
  assert '\n' not in str(error.value)
