"""Importing NCSN, NCSNv2 and the WideResNet, against official outputs."""

from __future__ import annotations

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config as configs
from difjax import errors
from difjax.interop import score_sde_refinenet

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'score_sde_refinenet'
# The noise levels with which each golden was made.
LEVELS = {
  'flax_ncsn': (10, 50.0), 'torch_ncsn': (10, 50.0),
  'flax_ncsnv2_64': (232, 50.0), 'torch_ncsnv2_64': (232, 50.0),
  'flax_ncsnv2_256': (1086, 190.0), 'torch_ncsnv2_256': (2311, 348.0),
  'flax_wideresnet': (0, 50.0)}

# Compiling is what these tests cost; the arithmetic is the same.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@functools.cache
def golden(name):
  """Weights by official name, of which those in int8 are in 64ths; arrays."""
  stored = np.load(GOLDEN / f'{name}.npz')
  weights = {
    key.removeprefix('weights/'): stored[key] / 64
    if stored[key].dtype == np.int8 else stored[key]
    for key in stored.files if key.startswith('weights/')}
  return weights, {
    key: stored[key] for key in stored.files if '/' not in key}


def nested(flat):
  tree = {}
  for name, array in flat.items():
    *parents, leaf = name.split('/')
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[leaf] = array
  return tree


def checkpoint(name, change=None):
  """The tree of a file whose averaged weights are the golden's."""
  weights, _ = golden(name)
  weights = dict(weights)
  if change is not None:
    change(weights)
  last = {key: np.zeros_like(array) for key, array in weights.items()}
  if name.startswith('torch'):
    if 'module.sigmas' in weights:
      last['module.sigmas'] = weights.pop('module.sigmas')
    return dict(model=last, ema=dict(shadow_params=list(weights.values())),
                step=5)
  if name == 'flax_wideresnet':
    return nested(weights)
  return dict(params_ema=nested(weights), optimizer=dict(target=nested(last)),
              step=np.int32(5))


def official(name):
  kind = name.split('_', 1)[1]
  levels, sigma_max = LEVELS[name]
  return dict(
    data=dict(image_size=16, num_channels=3, centered=False),
    model=dict(name=kind, num_scales=levels, sigma_max=sigma_max,
               sigma_min=0.01))


@pytest.mark.parametrize('name', LEVELS)
def test_network_gives_the_official_output(name, x64):
  _, io = golden(name)
  found = score_sde_refinenet.convert(checkpoint(name), official(name))
  out = jit(configs.build(found.network).apply)(
    {'params': found.params}, io['x'].astype(np.float64), io['noise'])
  assert out.dtype == jnp.float64
  scale = abs(io['out_f64']).max()
  np.testing.assert_allclose(out, io['out_f64'], rtol=0, atol=1e-6 * scale)


def test_float32_is_as_close_as_the_official_code_to_itself():
  name = 'flax_ncsnv2_64'
  _, io = golden(name)
  found = score_sde_refinenet.convert(checkpoint(name), official(name))
  out = jit(configs.build(found.network).apply)(
    {'params': found.params}, io['x'], io['noise'])
  assert out.dtype == jnp.float32
  own = abs(io['out'] - io['out_f64']).max()
  tolerance = 10 * own + 2e-6 * abs(io['out_f64']).max()
  np.testing.assert_allclose(out, io['out'], rtol=0, atol=tolerance)


def test_denoiser_is_the_official_score_on_other_data():
  """x and x_0 in [-1, 1] are 2x - 1 of theirs, and t counts levels up."""
  _, io = golden('flax_ncsnv2_64')
  levels, _ = LEVELS['flax_ncsnv2_64']
  found = score_sde_refinenet.convert(
    checkpoint('flax_ncsnv2_64'), official('flax_ncsnv2_64'))
  sigma = 50 * (0.01 / 50) ** (io['noise'] / (levels - 1))
  clean = io['x'] + sigma[:, None, None, None] ** 2 * io['out_f64']
  denoiser = configs.build(found.spec).denoiser(found.params)
  x0 = jit(lambda x, t: denoiser(x, t).x0)(
    2 * io['x'] - 1, (levels - io['noise']) / levels)
  np.testing.assert_allclose(
    x0, 2 * clean - 1, rtol=0, atol=2e-5 * abs(clean).max())


def test_classifier_takes_data_as_the_processes_give_them():
  _, io = golden('flax_wideresnet')
  found = score_sde_refinenet.convert(
    checkpoint('flax_wideresnet'), official('flax_wideresnet'))
  objective = configs.build(found.spec)
  # Undo what the official code does before the network.
  mean = np.array([0.49139968, 0.48215841, 0.44653091])
  std = np.array([0.24703223, 0.24348513, 0.26158784])
  x = 2 * (io['x'] * std + mean) - 1
  t = np.log(io['noise'] / 0.01) / np.log(50 / 0.01)
  log_prob = jit(objective.log_prob(found.params))(
    x.astype(np.float32), t.astype(np.float32))
  expected = jax.nn.log_softmax(io['out_f64'].astype(np.float32))
  np.testing.assert_allclose(log_prob, expected, atol=2e-3)


@pytest.mark.parametrize('name', ['flax_ncsnv2_64', 'torch_ncsnv2_64'])
def test_facts_and_the_last_weights(name):
  found = score_sde_refinenet.convert(checkpoint(name), official(name))
  assert found.info['weights'] == 'ema'
  assert found.info['step'] == 5
  assert found.info['image_shape'] == (16, 16, 3)
  last = score_sde_refinenet.convert(
    checkpoint(name), official(name), ema=False)
  assert last.info['weights'] == 'raw'
  assert not any(a.any() for a in jax.tree.leaves(last.params))
  assert all(a.dtype == np.float32 for a in jax.tree.leaves(found.params))


def test_config_may_be_short_where_the_file_tells():
  found = score_sde_refinenet.convert(
    checkpoint('torch_ncsnv2_256'), dict(data=dict(image_size=16)))
  levels = found.spec['process']
  assert levels['levels'] == 2311
  np.testing.assert_allclose(levels['sigma_max'], 696)


@pytest.mark.parametrize('name', LEVELS)
def test_files_are_recognised_by_their_layers(name):
  assert score_sde_refinenet.recognises(checkpoint(name))


@pytest.mark.parametrize('tree', [
  [], {}, {'model': {'module.all_modules.0.W': 1}}, {'model': 3},
  {'params_ema': {'ResnetBlockDDPM_0': {}}}])
def test_other_files_are_not(tree):
  assert not score_sde_refinenet.recognises(tree)


def drop(weights):
  del weights['ResidualBlock_3/Conv_1/bias']


def add(weights):
  weights['ResidualBlock_9/Conv_1/bias'] = np.zeros(3)


def misshape(weights):
  weights['RefineBlock_1/MSFBlock_0/Conv_0/kernel'] = np.zeros((3, 3, 8, 5))


def lose_stage(weights):
  for name in [n for n in weights if n.startswith('RefineBlock_3')]:
    del weights[name]


def lose_stem(weights):
  del weights['Conv_0/bias']


@pytest.mark.parametrize(('change', 'message'), [
  (drop, r'lacks ResidualBlock_3\.Conv_1\.bias$'),
  (add, r'does not explain, ResidualBlock_9\.Conv_1\.bias$'),
  (misshape, r'other shapes.*MSFBlock_0\.Conv_0\.kernel \(3, 3, 8, 5\) for'),
  (lose_stage, r'has 3 refinements'),
  (lose_stem, r'lacks Conv_0\.bias'),
])
def test_what_is_off_about_weights_is_named(change, message):
  tree = checkpoint('flax_ncsnv2_64', change)
  with pytest.raises(errors.CheckpointError, match=message):
    score_sde_refinenet.convert(tree, official('flax_ncsnv2_64'))


@pytest.mark.parametrize(('config', 'message'), [
  (dict(model=dict(name='ncsnv2_128')), r"'ncsnv2_128' in the config, but"),
  (dict(model=dict(nonlinearity='relu')), r"is 'relu' in the config; known"),
  (dict(model=dict(num_scales=9, sigma_max=1)), r'data\.image_size'),
])
def test_what_is_off_about_a_config_is_named(config, message):
  with pytest.raises(errors.ConfigError, match=message):
    score_sde_refinenet.convert(checkpoint('flax_ncsnv2_64'), config)


def test_an_average_that_does_not_fit_is_refused():
  tree = checkpoint('torch_ncsn')
  tree['ema']['shadow_params'].pop()
  with pytest.raises(errors.CheckpointError, match=r'ema\.shadow_params has'):
    score_sde_refinenet.convert(tree, official('torch_ncsn'))
  del tree['ema']
  with pytest.raises(errors.CheckpointError, match=r'no ema\.shadow_params'):
    score_sde_refinenet.convert(tree, official('torch_ncsn'))
