"""From an experiment of ours to the config that score SDE would have for it.

The way back of `score_sde.convert`: a checkpoint can then be read with one of
our configs in place of the official one.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final

from difjax import config as configs
from difjax import errors

Spec = Mapping[str, Any]
_RESAMPLING: Final = types.MappingProxyType({
  'networks.ConvDown': ('ddpm', True),
  'networks.Resample': ('ddpm', False),
  'networks.ResidualBlock': ('biggan', True),
})
_AVERAGING: Final = types.MappingProxyType({
  'partial': 'networks.ResidualBlock',
  'resampling': types.MappingProxyType({'ref': 'networks.average_down'}),
})
_ACTIVATIONS: Final = types.MappingProxyType({
  'flax.linen.elu': 'elu',
  'flax.linen.leaky_relu': 'lrelu',
  'flax.linen.relu': 'relu',
  'flax.linen.silu': 'swish',
  'flax.linen.swish': 'swish',
})
_UNIT = 2.0  # sigmas of data in [-1, 1] over those of data in [0, 1]


def official(objective: Spec) -> dict[str, Any]:
  """Returns the sections `model`, `training` and `data` of the config.

  What an objective does not tell is left out: the size of the images.

  Args:
    objective: the specification of a `Denoising`, or of a `Classifier`.

  Raises:
    ConfigError: score SDE has no such model.
  """
  kind = objective['process']['type']
  if kind not in _PROCESSES:
    raise errors.ConfigError(
      f'score SDE has no process {kind!r}; there are: {", ".join(_PROCESSES)}'
    )
  network = objective['network']
  if network['type'] not in _NETWORKS:
    raise errors.ConfigError(
      f'score SDE has no network {network["type"]!r}; there are: '
      f'{", ".join(_NETWORKS)}'
    )
  model = _NETWORKS[network['type']](network)
  sde, continuous = _PROCESSES[kind]
  noise = objective.get('inputs', {}).get('noise', {})
  parts = (objective.get('target', {}), noise)
  scaled = next((part['unit'] for part in parts if 'unit' in part), 1.0)
  centred = (
    scaled != _UNIT if kind in _EXPLODING
    else not network.get('unit_range', False)
  )  # fmt: skip
  process = configs.build(objective['process'], path='objective.process')
  levels = getattr(process, 'levels', None)
  if levels:
    model['num_scales'] = levels
  if kind in _EXPLODING:
    model['sigma_min'] = process.sigma_min / scaled
    model['sigma_max'] = process.sigma_max / scaled
  else:
    steps = levels or 1
    model['beta_min'] = process.beta_min * steps
    model['beta_max'] = process.beta_max * steps
  reduction = objective.get('reduction', {}).get('ref')
  weighting = objective.get('weighting', {}).get('type')
  training = {
    'sde': sde,
    'continuous': continuous,
    'reduce_mean': reduction not in _HALF_SUM,
    'likelihood_weighting': weighting in _LIKELIHOOD,
  }
  return {'model': model, 'training': training, 'data': {'centered': centred}}


def _told_by_file(_: Spec) -> dict[str, Any]:
  """Returns nothing: the weights tell all of the network."""
  return {}


def _unet(spec: Spec) -> dict[str, Any]:
  """Returns the section `model` but for the process.

  Raises:
    ConfigError: the network is none of theirs.
  """
  built = configs.build(spec, path='objective.network')
  down = spec.get('down', _AVERAGING)
  if down.get('partial') not in _RESAMPLING:
    raise errors.ConfigError(
      'objective.network is no U-Net of score SDE: give the official config'
    )
  block, convolved = _RESAMPLING[down['partial']]
  resampling = down.get('resampling', {})
  kernel = down.get('kernel') or resampling.get('kernel')
  if resampling.get('type') in _FILTERED:
    kernel = kernel or (1, 3, 3, 1)
  activation = spec.get('activation', {'ref': 'flax.linen.silu'})
  activation = activation.get('ref') or activation.get('partial')
  encoding = spec.get('encoding', {})
  fourier = encoding.get('partial') in _FOURIER
  sigma = spec.get('sigma', {})
  ladder = {
    key: sigma[name]
    for key, name in _LADDER.items() if name in sigma
  }  # fmt: skip
  return {
    'name': 'ddpm' if 'norm' in spec else 'ncsnpp',
    'nf': built.channels,
    'ch_mult': built.multipliers,
    'num_res_blocks': built.blocks_per_level,
    'attn_resolutions': built.attention_resolutions,
    'dropout': built.dropout,
    'conditional': built.conditional,
    'resamp_with_conv': convolved,
    'nonlinearity': _ACTIVATIONS[activation],
    'skip_rescale': built.skip_rescale,
    'init_scale': built.init_scale,
    'scale_by_sigma': built.scale_by_sigma,
    'resblock_type': block,
    'fir': bool(kernel),
    'fir_kernel': tuple(kernel or (1, 3, 3, 1)),
    'embedding_type': 'fourier' if fourier else 'positional',
    'fourier_scale': encoding.get('scale', 16.0),
    'progressive': _way(spec, 'output'),
    'progressive_input': _way(spec, 'input'),
    'progressive_combine': 'cat' if built.input_cat else 'sum',
    **ladder,
  }


def _way(spec: Spec, side: str) -> str:
  """Names the pyramid of a side."""
  if spec.get(f'{side}_skip'):
    return f'{side}_skip'
  return 'residual' if spec.get(f'{side}_residual') else 'none'


_EXPLODING: Final = frozenset({'processes.VE', 'processes.Ladder'})
_FILTERED: Final = frozenset({'networks.FIRDown'})
_FOURIER: Final = frozenset({'networks.Fourier'})
_HALF_SUM: Final = frozenset({'objectives.half_sum'})
_LADDER: Final = types.MappingProxyType({
  'num_scales': 'levels', 'sigma_max': 'sigma_max', 'sigma_min': 'sigma_min',
})  # fmt: skip
_LIKELIHOOD: Final = frozenset({'objectives.LikelihoodWeighting'})
_NETWORKS: Final = types.MappingProxyType({
  'networks.RefineNet': _told_by_file,
  'networks.UNet': _unet,
  'networks.WideResNet': _told_by_file,
})
_PROCESSES: Final = types.MappingProxyType({
  'processes.Ladder': ('vesde', False),
  'processes.LinearBetas': ('vpsde', False),
  'processes.SubVP': ('subvpsde', True),
  'processes.VE': ('vesde', True),
  'processes.VP': ('vpsde', True),
})
