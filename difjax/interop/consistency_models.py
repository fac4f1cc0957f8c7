"""Checkpoints of consistency_models: EDM teachers and consistency models.

The networks are ADM's, whose attention is here a two-dimensional convolution;
that tells the files apart. Its projection is laid out (query | key | value,
head, d), whatever `use_new_attention_order` says; flash attention is attention.

The process is EDM's with d = 0.5, sigma the noise level, and the network's time
input 1000 log(sigma) / 4. What x_0 is made of the output is told by
`training_mode` or `distillation`, not by the file:

| training_mode                    | target                                 |
|----------------------------------|----------------------------------------|
| edm (the default), progdist      | Preconditioned                         |
| consistency_training, ..._distillation | Consistency: x_0 = x at sigma_min |
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final

from difjax.interop import adm_keys, adm_networks, adm_settings, base

_FAMILY = 'consistency_models'
_MIDDLE = 'middle_block.1.qkv.weight'
_CONSISTENT = ('denoising.Consistency',)
_TIME = 250.0  # 1000 / 4
_TEACHERS: Final = types.MappingProxyType({
  '': False, 'edm': False, 'progdist': False,
  'consistency_distillation': True, 'consistency_training': True,
})  # fmt: skip
_WEIGHTINGS: Final = types.MappingProxyType({
  'karras': {'type': 'objectives.EDMWeighting'},
  'snr': {
    'type': 'objectives.UniformWeighting', 'of': {'type': 'denoising.Noise'}},
  'snr+1': {'type': 'objectives.EDMWeighting', 'data_std': 1.0},
  'truncated-snr': {'type': 'objectives.TruncatedSNRWeighting'},
  'uniform': {
    'type': 'objectives.UniformWeighting', 'of': {'type': 'denoising.Data'}},
})


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  arrays = adm_networks.weights(tree)
  known = adm_keys.recognises(set(arrays))
  return known and getattr(arrays.get(_MIDDLE), 'ndim', 0) == 4


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns the official arguments of an objective of ours.

  Raises:
    ConfigError: the network is none of theirs.
  """
  target = objective['target']
  return adm_networks.arguments(objective['network']) | {
    'distillation': target['type'] in _CONSISTENT,
    'sigma_data': target.get('data_std', 0.5),
  }


def convert(
  tree: Mapping[str, Any], config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: the official arguments, of the constructor or the scripts.
    ema: without effect: a file has one kind, and does not tell which.

  Raises:
    ConfigError: the arguments lack something, or contradict the checkpoint.
    CheckpointError: weights are missing, unknown, or of another shape; all of
      them are named.
  """
  del ema
  settings = adm_settings.Settings(config)
  found = adm_networks.read(tree, settings, legacy=False)
  data_std = settings.number('sigma_data')
  sigma_min = settings.number('sigma_min')
  consistent = settings.choice('training_mode', _TEACHERS) or settings.flag(
    'distillation')
  target = {'type': 'denoising.Preconditioned', 'data_std': data_std}
  if consistent:
    target |= {'type': 'denoising.Consistency', 'sigma_min': sigma_min}
  weighting = dict(settings.choice('weight_schedule', _WEIGHTINGS))
  if weighting == _WEIGHTINGS['karras']:
    weighting['data_std'] = data_std
  spec = {
    'type': 'objectives.Denoising',
    'network': found.network,
    'process': {
      'type': 'processes.EDM', 't_min': sigma_min,
      't_max': settings.number('sigma_max'),
    },
    'target': target,
    'inputs': {
      'type': 'denoising.InputMap',
      'scale': {'type': 'denoising.UnitVariance', 'data_std': data_std},
      'noise': {'type': 'denoising.LogSigma', 'factor': _TIME},
    },
    'times': {'type': 'objectives.LogNormalTimes'},
    'weighting': weighting,
    'learned_range': found.learned_range,
  }  # fmt: skip
  info = {
    'family': _FAMILY, 'model': 'consistency' if consistent else 'diffusion',
    **found.facts,
  }  # fmt: skip
  return base.Converted(
    spec=spec, params=found.params, network=found.network, info=info)
