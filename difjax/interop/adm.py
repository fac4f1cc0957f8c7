"""Checkpoints of ADM: U-Nets, upsamplers and classifiers of guided-diffusion.

Those of its parent improved-diffusion are of the same kind. A file is a flat
state dict; `ema_0.9999_500000.pt` and `model500000.pt` look alike. Betas stand
for levels i = 0 .. N - 1 of our time t = (i + 1) / N, on data in [-1, 1]:

| official                    | ours                                      |
|-----------------------------|-------------------------------------------|
| linear betas                | LinearBetas, scaled by 1000 / N           |
| cosine betas                | CosineBetas                               |
| time i                      | Linear(factor N, offset -1)               |
| with rescale_timesteps, 1000 i / N | Linear(factor 1000, offset -1000 / N) |
| predict_xstart              | Data, else Noise                          |
| learn_sigma                 | a learned range, `Prediction.spread`      |
| respacing, use_ddim         | the sampler of the work directory         |

The losses are L_simple, or with a learned range Nichol & Dhariwal's hybrid,
or with use_kl the variational bound, at levels drawn alike or, with the
`schedule_sampler` loss-second-moment, by their losses.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flax import traverse_util

from difjax import config as configs
from difjax import errors
from difjax.interop import adm_keys, adm_networks, adm_settings, base
from difjax.typing import Params

_FAMILY = 'adm'
_DATA = ('denoising.Data',)
_HYBRIDS: Final = types.MappingProxyType({
  'uniform': 'objectives.Hybrid',
  'loss-second-moment': 'objectives.ImportanceHybrid',
})
_SCHEDULES: Final = types.MappingProxyType({
  'processes.LinearBetas': 'linear', 'processes.CosineBetas': 'cosine',
})  # fmt: skip
_STEPS = 1000  # for which the betas and rescaled times are stated
_STRIDED = 'ddim'  # of respacing with a whole stride
# Arguments that only guided-diffusion has, which does not rescale times.
_GUIDED = (
  'num_head_channels', 'resblock_updown', 'use_fp16', 'use_new_attention_order',
)  # fmt: skip


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  return adm_keys.recognises(set(adm_networks.weights(tree)))


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
  found = adm_networks.read(tree, settings)
  levels = settings.count('diffusion_steps')
  spec = {
    'network': found.network,
    'process': _process(settings, levels),
    'inputs': {
      'type': 'denoising.InputMap', 'noise': _time(settings, levels)},
    'times': {'type': 'objectives.LevelTimes'},
  }
  info = {
    'family': _FAMILY,
    'model': 'classifier' if found.net.pool else 'diffusion',
    **found.facts,
  }
  sampler = None
  if found.net.pool:
    spec['type'] = 'objectives.Classifier'
  else:
    spec |= _losses(found, settings)
    info['spread'] = _spread(found, settings)
    info['timestep_respacing'] = str(settings['timestep_respacing'])
    sampler = _sampler(settings, spec['process'], info['spread'])
  return base.Converted(
    spec=spec, params=found.params, network=found.network, info=info,
    sampler=sampler)


def state_dict(
  params: Params, objective: base.Spec, shape: tuple[int, int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns the weights by official name, and the official arguments.

  Those of a network are its constructor's.

  Args:
    params: of our network.
    objective: its specification.
    shape: (H, W, C) of an image.

  Raises:
    ConfigError, KeyError: ADM has no such model.
  """
  config = official(objective) | _told(params, shape[-1]) | {
    'image_size': shape[0], 'in_channels': shape[-1]}
  config = {
    name: value for name, value in config.items() if value is not None}
  settings = adm_settings.Settings(config)
  return adm_networks.state_dict(params, settings), config


def _told(params: Params, colours: int) -> dict[str, Any]:
  """Returns the constructor's arguments that weights tell; None: no such.

  Heads are split first in what goes out, whatever the order was that came in.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  net = adm_keys.described({name: a.shape for name, a in flat.items()})
  unet = net.pool is None
  return {
    'model_channels': net.width,
    'channel_mult': [
      int(m) if m.is_integer() else m for m in net.multipliers],
    'num_res_blocks': net.blocks,
    'attention_resolutions': [2**level for level in net.attention],
    'out_channels': net.outputs,
    'num_classes': net.num_classes or None,
    'use_scale_shift_norm': net.scale_shift,
    'resblock_updown': net.updown,
    'conv_resample': net.updown or net.convolved,
    'use_new_attention_order': False,
    'pool': net.pool,
    'class_cond': net.num_classes > 0 if unet else None,
    'learn_sigma': net.outputs == 2 * colours if unet else None,
  }


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns the official arguments of an objective of ours.

  Raises:
    ConfigError: ADM has no such model.
  """
  process = objective['process']
  if process['type'] not in _SCHEDULES:
    raise errors.ConfigError(
      f'ADM has no process {process["type"]!r}; there are: '
      f'{", ".join(_SCHEDULES)}')
  levels = process.get('levels', _STEPS)
  noise = objective.get('inputs', {}).get('noise', {})
  target = objective.get('target', {}).get('type')
  return adm_networks.arguments(objective['network']) | {
    'diffusion_steps': levels,
    'noise_schedule': _SCHEDULES[process['type']],
    'predict_xstart': target in _DATA,
    'rescale_timesteps': noise.get('factor', levels) != levels,
  }


def _process(settings: adm_settings.Settings, levels: int) -> base.Spec:
  """The levels."""
  linear = {
    'type': 'processes.LinearBetas',
    'beta_min': 1e-4 * _STEPS / levels, 'beta_max': 0.02 * _STEPS / levels,
  }  # fmt: skip
  cosine = {'type': 'processes.CosineBetas'}
  kind = settings.choice(
    'noise_schedule', {'linear': linear, 'cosine': cosine})
  return {**kind, 'levels': levels}


def _time(settings: adm_settings.Settings, levels: int) -> base.Spec:
  """The network's time input.

  Raises:
    ConfigError: the two codes differ in it and nothing tells which it is.
  """
  told = 'rescale_timesteps' in settings or settings.first(*_GUIDED)
  if levels != _STEPS and not told:
    raise errors.ConfigError(
      f'ADM: with {levels} levels the checkpoint does not tell '
      'rescale_timesteps: give --arch.rescale_timesteps=True (the default of '
      'improved-diffusion) or False (of guided-diffusion)')
  rescaled = settings.flag('rescale_timesteps')
  factor = float(_STEPS if rescaled else levels)
  return {
    'type': 'denoising.Linear', 'factor': factor, 'offset': -factor / levels}


def _losses(
  found: adm_networks.Found, settings: adm_settings.Settings
) -> base.Spec:
  """The objective without process, network and times."""
  data = settings.flag('predict_xstart')
  spec: base.Spec = {
    'type': 'objectives.Denoising',
    'target': {'type': f'denoising.{"Data" if data else "Noise"}'},
    'learned_range': found.learned_range,
  }
  alone = settings.flag('use_kl')
  rescaled = settings.flag('rescale_learned_sigmas')
  if not (alone or found.learned_range):
    return spec
  levels = settings.count('diffusion_steps')
  small = settings.flag('sigma_small')
  fixed = f'objectives.{"Small" if small else "Large"}'
  weights = {'simple_weight': 0.0, 'bound_weight': 1.0, 'detached': False}
  kind = settings.choice('schedule_sampler', _HYBRIDS)
  return spec | {'type': kind} | (
    weights if alone else {'bound_weight': 1e-3 if rescaled else 1 / levels}
  ) | ({} if found.learned_range else {'variance': {'type': fixed}})


def _sampler(
  settings: adm_settings.Settings, process: base.Spec, spread: float | None
) -> base.Spec:
  """Ancestral sampling, or DDIM, at the levels that are asked for.

  Raises:
    ConfigError: the process has no such levels.
  """
  asked = settings['timestep_respacing'] or process['levels']
  try:
    grid = _grid(str(asked))
    configs.build(grid)(configs.build(process))
  except (ValueError, errors.ConfigError) as error:
    raise errors.ConfigError(
      f'ADM: timestep_respacing is {asked!r} in the config: {error}') from error
  eta = 0.0 if settings.flag('use_ddim') else 1.0
  solver = {'type': 'sampling.DDIM', 'eta': eta, 'spread': spread or 0.0}
  return {'type': 'sampling.FixedGrid', 'solver': solver, 'grid': grid}


def _grid(respacing: str) -> base.Spec:
  """The levels of "ddim25", "250" or "10,15,20"."""
  if respacing.startswith(_STRIDED):
    steps = int(respacing.removeprefix(_STRIDED))
    return {'type': 'sampling.StridedLevels', 'steps': steps}
  counts = [int(count) for count in respacing.strip('[]()').split(',')]
  return {'type': 'sampling.RespacedLevels', 'counts': counts}


def _spread(
  found: adm_networks.Found, settings: adm_settings.Settings
) -> float | None:
  """The spread of ancestral sampling; None where it is learned."""
  if found.learned_range:
    return None
  return 0.0 if settings.flag('sigma_small') else 1.0
