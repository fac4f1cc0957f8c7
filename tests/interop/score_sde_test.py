"""U-Nets of score SDE against the official outputs, and faults in files."""

from __future__ import annotations

import collections
import copy
import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config as configs
from difjax import errors
from difjax.interop import (
  container,
  score_sde,
  score_sde_keys,
  score_sde_settings,
)

TESTS = pathlib.Path(__file__).parents[1]
KEPT = TESTS / 'golden' / 'scoresde'
SHARED = TESTS.parents[1] / 'shared' / 'golden'


def channels_last(array):
  return array.transpose(0, 2, 3, 1)


def kept(name):
  """One of the sets in this repository: tree, config, arrays."""
  (path,) = (KEPT / f'{name}{end}' for end in ('.pth', '.msgpack')
             if (KEPT / f'{name}{end}').exists())
  config = json.loads((KEPT / f'{name}.json').read_text())
  return container.read(path), config, dict(np.load(KEPT / f'{name}.npz'))


def shared(name, quantity, **training):
  """One of the sets beside this repository, as `kept` has them."""
  folder = SHARED / name
  if not folder.is_dir():
    pytest.skip(f'{folder} is not there: no official outputs to compare with')
  config = json.loads((folder / 'config.json').read_text())['config']
  config['config']['training'].update(training)
  io = dict(np.load(folder / 'io.npz'))
  arrays = {
    'x': channels_last(io['x']), 't': io['t'],
    'labels': io[f'{quantity}_labels__f64'],
    'out': channels_last(io[f'{quantity}_model_out']),
    'out__f64': channels_last(io[f'{quantity}_model_out__f64']),
    'score': channels_last(io[f'{quantity}_score']),
    'score__f64': channels_last(io[f'{quantity}_score__f64']),
  }
  return container.read(folder / 'checkpoint_1.pth'), config, arrays


SETS = {
  'skips': lambda: kept('skips'),
  'discrete': lambda: kept('discrete'),
  'residual': lambda: kept('residual'),
  'ddpm': lambda: kept('ddpm'),
  'golden VE': lambda: shared('scoresde_ve_ncsnpp', 've'),
  'golden sub-VP': lambda: shared('scoresde_subvp_ncsnpp', 'subvp'),
  'golden VP': lambda: shared('scoresde_subvp_ncsnpp', 'vp', sde='vpsde'),
  'golden DDPM': lambda: shared('scoresde_ddpm', 'vp'),
}


def in_float64(tree):
  return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def exact(found, expected):
  assert found.dtype == np.float64
  scale = abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)


def our_times(converted, process, labels, t):
  """Our times of official ones, by the table in the module."""
  if converted.info['continuous']:
    return t
  levels = process.levels
  descending = converted.info['sde'] == 'vesde'
  return (levels - labels if descending else labels + 1) / levels


@pytest.mark.parametrize('name', SETS)
def test_networks_are_the_official_ones(name):
  tree, config, arrays = SETS[name]()
  assert score_sde.recognises(tree)
  converted = score_sde.convert(tree, config)
  x, out, labels = (arrays[k] for k in ('x', 'out__f64', 'labels'))
  assert converted.info['image_shape'] == x.shape[1:]
  network = configs.build(converted.network)
  objective = configs.build(converted.spec)

  single = jax.jit(network.apply)(
    {'params': converted.params}, x, labels.astype(np.float32))
  rounding = 10 * abs(out - arrays['out']).max() + 2e-6 * abs(out).max()
  assert single.dtype == np.float32
  np.testing.assert_allclose(single, out, rtol=0, atol=rounding)

  with jax.enable_x64(True):
    params = in_float64(converted.params)
    x, labels = x.astype(np.float64), jnp.asarray(labels)
    exact(network.apply({'params': params}, x, labels), out)
    # Our own denoiser: the same output at the same place, as -u eps / sigma
    # for VE and as eps for the others.
    t = jnp.asarray(arrays['t'], np.float64)
    exploding = converted.info['sde'] == 'vesde'
    if exploding and not (config.get('config', config))['data']['centered']:
      x = 2 * x - 1
    t = our_times(converted, objective.process, labels, t)
    eps = np.asarray(objective.denoiser(params)(x, t).eps)
    sigma = np.asarray(objective.process.sigma(t))[:, None, None, None]
    exact(-2 * eps / sigma if exploding else eps, out)
    if 'score' in arrays:
      if not converted.info['continuous']:  # the table, at the whole part
        sigma = np.asarray(objective.process.sigma(
          objective.process.time(jnp.floor(labels))))[:, None, None, None]
      exact((-2 if exploding else -1) * eps / sigma, arrays['score__f64'])


def test_raw_weights_on_request():
  tree, config, _ = kept('discrete')
  raw = score_sde.convert(tree, config, ema=False)
  assert raw.info['weights'] == 'raw'
  np.testing.assert_array_equal(
    raw.params['head']['bias'], list(tree['model'].values())[-1])
  tree, config, _ = kept('residual')
  raw, averaged = (
    score_sde.convert(tree, config, ema=ema) for ema in (False, True))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, 1.5 * b, rtol=1e-6),
    raw.params, averaged.params)


def test_facts():
  tree, config, _ = kept('skips')
  found = score_sde.convert(tree, {'seed': 1, 'config': config}).info
  assert found == dict(
    family='score_sde', model='ncsnpp', container='torch', weights='ema',
    step=77, image_shape=(8, 8, 3), unused=(), sde='vesde', continuous=True,
    data_range=(-1, 1))


def changed(config, **values):
  config = copy.deepcopy(config)
  for key, value in values.items():
    section = next(s for s in config if key in config[s])
    config[section][key] = value
  return config


def test_weights_that_do_not_fit_are_all_named():
  tree, config, _ = kept('discrete')
  model = dict(tree['model'])
  lost = [name for name in model if name.endswith('.Conv_0.weight')]
  broken = dict(tree, model=model | {'module.extra': model.pop(lost[0])})
  with pytest.raises(errors.CheckpointError) as raised:
    score_sde.convert(broken, config, ema=False)
  assert lost[0].removeprefix('module.') in str(raised.value)
  assert 'unknown: extra' in str(raised.value)
  assert '\n' not in str(raised.value)
  with pytest.raises(errors.CheckpointError, match=r'of another shape: .*Conv'):
    score_sde.convert(tree, changed(config, nf=16))
  with pytest.raises(errors.CheckpointError, match='shadow_params has'):
    ema = dict(shadow_params=tree['ema']['shadow_params'][:-1])
    score_sde.convert(dict(tree, ema=ema), config)
  with pytest.raises(errors.CheckpointError, match=r'no ema\.shadow_params'):
    score_sde.convert(dict(tree, ema=None), config)


def test_configs_that_do_not_fit_name_the_key():
  tree, config, _ = kept('discrete')
  lacking = copy.deepcopy(config)
  del lacking['model']['nf']
  with pytest.raises(errors.ConfigError, match=r'model\.nf .*--arch\.model'):
    score_sde.convert(tree, lacking)
  with pytest.raises(errors.ConfigError, match=r'model\.name'):
    score_sde.convert(tree, None)
  with pytest.raises(errors.ConfigError, match="resblock_type is 'other'"):
    score_sde.convert(tree, changed(config, resblock_type='other'))
  with pytest.raises(errors.ConfigError, match=r'sigma_max is 50 .* with 30'):
    score_sde.convert(tree, changed(config, sigma_max=50))


def test_what_is_left_out_has_the_official_default():
  settings = score_sde_settings.Settings(
    {'data': {'dataset': 'LSUN'}}, {'model.sigma_max': 380.0})
  assert settings['model.num_scales'] == 2000
  assert settings['data.image_size'] == 256
  assert settings['model.beta_max'] == 20
  assert settings['model.sigma_max'] == 380  # the checkpoint knows better
  with pytest.raises(errors.ConfigError, match=r'model\.ch_mult'):
    settings['model.ch_mult']


NCSNPP = score_sde_keys.Architecture(
  size=32, channels=3, width=128, multipliers=(1, 2, 2, 2), blocks=4,
  attention=(16,), activation={}, dropout=0.1, conditional=True, plain=False,
  convolved=False, fourier=True, biggan=True, kernel=(1, 3, 3, 1),
  input_residual=True)


@pytest.mark.parametrize(('net', 'counts'), [
  (NCSNPP, dict(total=59, ResnetBlockBigGANpp=44, AttnBlockpp=6)),
  (dataclasses.replace(
    NCSNPP, size=256, multipliers=(1, 1, 2, 2, 2, 2, 2), blocks=2,
    input_residual=False, input_skip=True, output_skip=True),
   dict(total=77, ResnetBlockBigGANpp=49, AttnBlockpp=4, Combine=6, Conv=8,
        GroupNorm=7)),
], ids=['CIFAR-10', 'FFHQ-256'])
def test_layout_of_published_checkpoints(net, counts):
  # What the official networks of these sizes have, counted from their code.
  leaves = [name for _, names in score_sde_keys.names(net, flax=True)
            for name in names]
  assert len(set(leaves)) == len(leaves)
  modules = {name.split('.')[0] for name in leaves}
  kinds = collections.Counter(m.rpartition('_')[0] for m in modules)
  kinds['total'] = len(modules)
  assert {kind: kinds[kind] for kind in counts} == counts
  torch = {name.split('.')[1] for _, names in
           score_sde_keys.names(net, flax=False) for name in names}
  assert torch == {str(i) for i in range(len(modules))}


@pytest.mark.parametrize('tree', [
  None, {}, {'model': {'module.res1.weight': 0}}, {'params_ema': {'Conv_0': 0}},
  {'state_dict': {'all_modules.0.weight': 0}}])
def test_other_checkpoints_are_not_recognised(tree):
  assert not score_sde.recognises(tree)
