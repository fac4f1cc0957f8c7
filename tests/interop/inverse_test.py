"""The way back of importers: official files, imported and exported again."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from difjax import pytree
from difjax.interop import (
  adm,
  adm_settings,
  container,
  dit,
  edm,
  edm_official,
  imported,
  inverse,
  persistent,
  score_sde,
  score_sde_config,
)

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
SHARED = GOLDEN.parents[2] / 'shared' / 'golden'


def same(found, expected):
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    array = np.asarray(array, found[name].dtype)
    np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert found[name].shape == array.shape, name


def near(found, expected):
  """Noise levels, theirs the roots of 1 + sigma^2 less 1 in float32."""
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert found[name].dtype == array.dtype
    level, official = (
      1 + np.square(table, dtype=np.float64)
      for table in (found[name], array))
    np.testing.assert_allclose(level, official, rtol=2e-6)


def test_a_map_is_undone():
  """Of two arrays beside each other, transposed."""
  a, b = np.arange(6.0).reshape(2, 3), np.arange(6.0, 14.0).reshape(2, 4)
  turn = lambda a, b: np.concatenate([a, b], 1).T
  found = inverse.undone(turn, turn(a, b), [(2, 3), (2, 4)])
  np.testing.assert_array_equal(found[0], a)
  np.testing.assert_array_equal(found[1], b)


def test_arrays_of_other_sizes_are_refused():
  with pytest.raises(ValueError, match='reshape'):
    inverse.undone(np.transpose, np.zeros((3, 3)), [(2, 3)])


def test_output_first():
  assert inverse.output_first((3, 5, 7, 11)) == (11, 7, 3, 5)
  assert inverse.output_first((7, 11)) == (11, 7)
  assert inverse.output_first((11,)) == (11,)


def test_dit():
  tree = container.read(GOLDEN / 'dit' / 'DiT-tiny.pt')
  found = dit.convert(tree, {'num_heads': 4})
  arrays, config = dit.state_dict(
    found.params, found.spec, found.info['image_shape'])
  same(arrays, tree)
  again = dit.convert(arrays, config)
  assert again.spec == found.spec


@pytest.mark.parametrize('name', ['unet', 'sr', 'classifier'])
def test_adm(name):
  """Float16 files hold numbers that float32 has too."""
  tree = container.read(GOLDEN / 'adm' / f'{name}.pt')
  tree = {key.removeprefix('module.'): array for key, array in tree.items()}
  config = json.loads((GOLDEN / 'adm' / f'{name}.json').read_text())
  found = adm.convert(tree, config)
  arrays = adm.adm_networks.state_dict(
    found.params, adm_settings.Settings(config))
  same(arrays, tree)


def test_adm_from_our_spec():
  """The official arguments are those that the objective tells."""
  tree = container.read(GOLDEN / 'adm' / 'unet.pt')
  config = json.loads((GOLDEN / 'adm' / 'unet.json').read_text())
  found = adm.convert(tree, config)
  arrays, told = adm.state_dict(found.params, found.spec, (8, 8, 3))
  same(arrays, tree)
  assert adm.convert(arrays, told).network == found.network


@pytest.mark.parametrize('name', ['unet', 'sr', 'classifier'])
@pytest.mark.parametrize('new_order', [False, True])
def test_adm_tells_the_constructor_all(name, new_order):
  """The order of heads too, which is the old one whatever came in."""
  tree = container.read(GOLDEN / 'adm' / f'{name}.pt')
  given = json.loads((GOLDEN / 'adm' / f'{name}.json').read_text())['config']
  found = adm.convert(tree, given | {'use_new_attention_order': new_order})
  arrays, told = adm.state_dict(
    found.params, found.spec, found.info['image_shape'])
  given.pop('small_size', None)  # of the scripts
  if 'num_head_channels' in given:
    del given['num_heads']  # which it goes before
  assert told | given == told
  assert str(told['channel_mult']) == str(given['channel_mult'])  # no floats
  assert not told['use_new_attention_order']
  again = adm.convert(arrays, told)
  assert again.network == found.network
  same(_flat(again.params), _flat(found.params))


def edm_file(name):
  """A golden of this repository, or of the set beside it."""
  file = GOLDEN / 'edm' / f'{name}.pkl'
  if not file.exists():
    file = SHARED / f'edm_{name}' / 'network-nosrc.pkl'
  if not file.exists():
    pytest.skip(f'{file} is not there: no official file to compare with')
  return file


@pytest.mark.parametrize('name', ['ddpmpp', 've', 'ncsnpp', 'vp', 'iddpm'])
def test_edm(name):
  tree = container.read(edm_file(name))
  net = tree['ema'] if isinstance(tree, dict) else tree
  found = edm.convert(tree, None)
  expected = persistent.arrays(net)
  levels = {key: expected.pop(key) for key in ('u',) if key in expected}
  kinds = {}
  for config in edm_official.arguments(
    found.params, found.spec, found.info['image_shape']
  ):
    arrays = edm.state_dict(found.params, config)
    near({key: arrays.pop(key) for key in ('u',) if key in arrays}, levels)
    same(arrays, expected)
    kinds[config['precond']] = config
  config = kinds[net.kind]
  given = dict(net.keywords)
  assert {key: config[key] for key in given} == given
  again = edm.convert(edm.state_dict(found.params, config), config)
  assert again.network == found.network


@pytest.mark.parametrize('name', ['discrete', 'skips', 'ddpm', 'residual'])
def test_score_sde(name):
  """The file's names are PyTorch's, or the weights come from Flax's."""
  file = GOLDEN / 'scoresde' / f'{name}.pth'
  flax = not file.exists()
  tree = container.read(file.with_suffix('.msgpack') if flax else file)
  config = json.loads(file.with_suffix('.json').read_text())
  found = score_sde.convert(tree, config, ema=flax)
  size = dict(zip(
    ('image_size', '_', 'num_channels'), found.info['image_shape'],
    strict=True))
  del size['_']
  told = imported.merged(
    score_sde_config.official(found.spec), {'data': size})
  arrays = score_sde.state_dict(found.params, told)
  if not flax:
    kept = {
      key: array for key, array in tree['model'].items()
      if key.removeprefix('module.') not in found.info['unused']}
    table = kept.pop('module.sigmas')
    ours = arrays.pop('module.sigmas')
    if found.info['sde'] == 'vesde':
      np.testing.assert_allclose(ours, table, rtol=1e-12)
    same(arrays, kept)
    arrays['module.sigmas'] = ours
  assert score_sde.recognises(arrays)
  again = score_sde.convert(arrays, told)
  assert again.spec == found.spec
  same(_flat(again.params), _flat(found.params))


def _flat(params):
  return dict(pytree.named_leaves(params))
