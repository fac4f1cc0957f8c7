"""From our experiments back to the official configs."""

from __future__ import annotations

import importlib
import json
import pathlib

import pytest

from difjax import config as configs
from difjax import errors
from difjax.interop import (
  container,
  score_sde,
  score_sde_config,
  score_sde_keys,
  score_sde_settings,
)
from tests.interop import official

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'


@pytest.mark.skipif(not SHARED.exists(), reason='needs ../shared/golden')
@pytest.mark.parametrize('name', ['ddpm', 've_ncsnpp', 'subvp_ncsnpp'])
def test_there_and_back(name):
  """The official config makes our objective; ours makes the same again."""
  folder = SHARED / f'scoresde_{name}'
  config = json.loads((folder / 'config.json').read_text())['config']
  tree = container.read(folder / 'checkpoint_1.pth')
  first = score_sde.convert(tree, config)
  back = score_sde_config.official(json.loads(json.dumps(first.spec)))
  size, _, channels = first.info['image_shape']
  back['data'] |= {'image_size': size, 'num_channels': channels}
  again = score_sde.convert(tree, back)
  assert configs.differences(first.spec, again.spec) == []
  assert configs.differences(first.network, again.network) == []


# Of score_sde's own config files: model, training, data.
PUBLISHED = {
  'ncsnpp_ve': (
    {'name': 'ncsnpp', 'nf': 128, 'ch_mult': (1, 2, 2, 2), 'num_res_blocks': 4,
     'attn_resolutions': (16,), 'fir': True, 'fir_kernel': (1, 3, 3, 1),
     'resblock_type': 'biggan', 'progressive_input': 'residual',
     'progressive': 'none', 'embedding_type': 'fourier', 'fourier_scale': 16.0,
     'scale_by_sigma': True, 'sigma_min': 0.01, 'sigma_max': 50.0},
    {'sde': 'vesde', 'continuous': True, 'reduce_mean': False},
    {'centered': False},
  ),
  'ddpmpp_subvp': (
    {'name': 'ncsnpp', 'fir': False, 'progressive_input': 'none',
     'embedding_type': 'positional', 'scale_by_sigma': False,
     'skip_rescale': True, 'beta_min': 0.1, 'beta_max': 20.0},
    {'sde': 'subvpsde', 'continuous': True, 'reduce_mean': True},
    {'centered': True},
  ),
  'ddpm_vp_discrete': (
    {'name': 'ddpm', 'num_res_blocks': 2, 'resamp_with_conv': True,
     'num_scales': 1000, 'beta_min': 0.1, 'beta_max': 20.0},
    {'sde': 'vpsde', 'continuous': False, 'reduce_mean': True},
    {'centered': True},
  ),
  'ncsnpp_ve_discrete': (
    {'embedding_type': 'positional', 'scale_by_sigma': True,
     'num_scales': 1000, 'sigma_min': 0.01, 'sigma_max': 50.0},
    {'sde': 'vesde', 'continuous': False, 'reduce_mean': False},
    {'centered': False},
  ),
}  # fmt: skip


@pytest.mark.parametrize('name', PUBLISHED)
def test_our_configs_are_the_published_ones(name):
  module = importlib.import_module(f'configs.cifar10.{name}')
  spec = module.get_config().to_dict()['objective']
  found = score_sde_config.official(spec)
  model, training, data = PUBLISHED[name]
  for section, values in dict(
    model=model, training=training, data=data
  ).items():
    for key, value in values.items():
      assert found[section][key] == pytest.approx(value), (section, key)


def test_the_tiny_network():
  objective = dict(
    type='objectives.Denoising', network=official.NETWORK,
    process=dict(type='processes.SubVP'), target=dict(type='denoising.Noise'),
  )  # fmt: skip
  found = score_sde_config.official(objective)
  found['data'] |= {'image_size': 8, 'num_channels': 1}
  read = lambda config: score_sde_keys.architecture(
    score_sde_settings.Settings(config, {})
  )
  assert read(found) == read(official.CONFIG)


def test_models_of_others():
  objective = dict(
    network=official.NETWORK, process=dict(type='processes.EDM'), target={}
  )
  with pytest.raises(errors.ConfigError, match='no process'):
    score_sde_config.official(objective)
  objective['process']['type'] = 'processes.VP'
  objective['network'] = dict(type='networks.DiT')
  with pytest.raises(errors.ConfigError, match='no network'):
    score_sde_config.official(objective)
  objective['network'] = dict(
    type='networks.UNet', down=dict(partial='networks.FIRDown')
  )
  with pytest.raises(errors.ConfigError, match='no U-Net of score SDE'):
    score_sde_config.official(objective)
