"""Checkpoints of score SDE's U-Nets: `ddpm` and `ncsnpp`, PyTorch or Flax.

The denoiser's times are those of our processes, data at t = 0 in [-1, 1]:

| official                  | process, t          | the network's time input |
|---------------------------|---------------------|--------------------------|
| VP, sub-VP, continuous    | VP, SubVP, the same | 999 t                    |
| VE, continuous            | VE, the same        | sigma(t) / u             |
| VP, discrete, index i     | LinearBetas, (i + 1) / N | i = N t - 1         |
| VE, discrete, label j from the highest | Ladder, (N - j) / N | j = N - N t |

with u = 2 where the official data are in [0, 1], else 1. There our x is 2x - 1
of theirs: our VE has u times their sigmas, and theirs is the score in x / u, u
times ours. The official discrete code reads its table at the whole part of
t_official (N - 1), a time of its own that serves only to number the levels.

VP on data in [0, 1] has no equal on [-1, 1], for alpha x_0 of the two differ by
more than a factor. Its denoiser keeps the official coordinates; `info` says so
(`data_range`). No published network is of that kind.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flax import traverse_util

from difjax import errors
from difjax.interop import (
  base,
  inverse,
  score_sde_keys,
  score_sde_settings,
  score_sde_weights,
)
from difjax.typing import Params

_FAMILY = 'score_sde'
_POINTWISE = '.Conv_2.weight'  # a convolution of one pixel
# Of the table that all networks keep, where the process does not tell it.
TABLE: Final = types.MappingProxyType(
  dict(sigma_max=50.0, sigma_min=0.01, num_scales=1_000))


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  if not isinstance(tree, Mapping):
    return False
  model = tree if score_sde_weights.alone(tree) else tree.get('model')
  if isinstance(model, Mapping):
    return any('all_modules.' in str(name) for name in model)
  params = tree.get('params_ema')
  return isinstance(params, Mapping) and any(
    str(name).startswith('ResnetBlock')
    for name in params.get('params', params))


def convert(
  tree: Mapping[str, Any], config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: the official config as nested mappings, within `{'config': ...}` or
      not; what it lacks has the official default, where there is one.
    ema: averaged weights, not those of the last step.

  Raises:
    ConfigError: the config lacks something, or contradicts the checkpoint.
    CheckpointError: weights are missing, unknown, or of another shape; all of
      them are named.
  """
  weights = score_sde_weights.read(tree, ema)
  settings = score_sde_settings.Settings(config, weights.told)
  net = score_sde_keys.architecture(settings)
  _check_table(weights, settings)
  spec, network, facts = _objective(_network(net), net, settings)
  names = dict(score_sde_keys.names(net, flax=weights.flax))
  shape = net.size, net.size, net.channels
  shapes = score_sde_weights.shapes(network, shape)
  params, unused = _params(weights.arrays, names, shapes, net)
  info = dict(
    family=_FAMILY, model=str(settings['model.name']),
    container='flax' if weights.flax else 'torch', weights=weights.kind,
    step=int(np.asarray(tree.get('step', 0))), image_shape=shape,
    unused=unused, **facts)
  return base.Converted(spec=spec, params=params, network=network, info=info)


def state_dict(
  params: Params, config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Returns the weights by PyTorch's names: the way back of `convert`.

  Args:
    params: of our U-Net.
    config: the official one.

  Raises:
    ConfigError: the config lacks something.
    KeyError: the network is none of theirs.
  """
  settings = score_sde_settings.Settings(config, {
    f'model.{name}': value for name, value in TABLE.items()})
  names = dict(score_sde_keys.names(
    score_sde_keys.architecture(settings), flax=False))
  found = {}
  for path, leaf in traverse_util.flatten_dict(params, sep='/').items():
    array = np.asarray(leaf)
    theirs = names[path]
    if theirs[0].endswith(_POINTWISE):  # a dense layer of ours
      array = array.reshape(1, 1, *array.shape[-2:])
    elif theirs[0].endswith('.W'):  # perhaps a convolution of ours
      array = array.reshape(array.shape[-2:])
    shape = (*array.shape[:-1], array.shape[-1] // len(theirs))
    if theirs[0].endswith('.weight'):
      shape = inverse.output_first(shape)
    turn = functools.partial(_side_by_side, theirs)
    found |= zip(theirs, inverse.undone(
      turn, array, [shape] * len(theirs)), strict=True)
  ends = (settings.number(f'model.sigma_{end}') for end in ('max', 'min'))
  table = np.exp(np.linspace(
    *map(np.log, ends), settings.count('model.num_scales')))
  return score_sde_weights.as_saved(found, table)


def _side_by_side(names: tuple[str, ...], *arrays: np.ndarray) -> np.ndarray:
  """Puts the parts of one of our weights together."""
  return np.concatenate([*map(_ours, names, arrays)], -1)


def _check_table(
  weights: score_sde_weights.Weights, settings: score_sde_settings.Settings
) -> None:
  """Refuses a config of other noise levels than the checkpoint's."""
  for name, told in weights.told.items():
    if not np.isclose(settings.number(name), told, rtol=1e-5):
      raise errors.ConfigError(
        f'score SDE: {name} is {settings[name]} in the config, but the '
        f'checkpoint was made with {told:g}')


def _params(
  arrays: Mapping[str, np.ndarray],
  names: Mapping[str, tuple[str, ...]],
  shapes: score_sde_weights.Shapes,
  net: score_sde_keys.Architecture,
) -> tuple[Params, tuple[str, ...]]:
  """Our weights, and the names of those that the network never uses.

  A network that does not see the noise keeps weights for it all the same.
  """
  wanted = {name for path in shapes for name in names[path]}
  idle = names.keys() - shapes.keys()
  inert = {name for path in idle for name in names[path]} & arrays.keys()
  unused = set() if net.conditional else inert
  found, wrong = {}, []
  for path, shape in shapes.items():
    if not arrays.keys() >= set(names[path]):
      continue
    array = _side_by_side(names[path], *(arrays[n] for n in names[path]))
    squeezed = score_sde_weights.squeezed
    if squeezed(array.shape) == squeezed(shape):
      found[path] = array
    else:
      wrong.append(f'{" + ".join(names[path])} {array.shape} for {shape}')
  _check({
    'missing': sorted(wanted - arrays.keys()),
    'unknown': sorted(arrays.keys() - wanted - unused),
    'of another shape': sorted(wrong)})
  return score_sde_weights.nested(found, shapes), tuple(sorted(unused))


def _check(faults: Mapping[str, list[str]]) -> None:
  """Refuses a checkpoint that is not what the config says."""
  listed = '; '.join(
    f'{fault}: {", ".join(names)}' for fault, names in faults.items() if names)
  if listed:
    raise errors.CheckpointError(
      'score SDE: the weights are not those of the network that the config '
      f'describes; {listed}')


def _ours(name: str, array: np.ndarray) -> np.ndarray:
  """Puts axes as we have them: PyTorch's `weight` is output first."""
  if name.startswith('all_modules.') and name.endswith('.weight'):
    return np.moveaxis(array, (0, 1)[:array.ndim], (-1, -2)[:array.ndim])
  return array


def _network(net: score_sde_keys.Architecture) -> base.Spec:
  """The network without what concerns time and the range of images."""
  half = dict(ref='networks.average_down')
  double = dict(ref='networks.nearest_up')
  if net.kernel:
    half, double = (
      dict(type=name, kernel=net.kernel)
      for name in ('networks.FIRDown', 'networks.FIRUp'))
  conv_down, conv_up = (
    dict(partial=name, kernel=net.kernel)
    for name in ('networks.ConvDown', 'networks.ConvUp'))
  part = 'networks.ResidualBlock' if net.biggan else 'networks.Resample'
  down, up = (
    (conv_down, conv_up) if net.convolved
    else (dict(partial=part, resampling=r) for r in (half, double)))
  spec = dict(
    type='networks.UNet', channels=net.width, multipliers=net.multipliers,
    blocks_per_level=net.blocks, attention_resolutions=net.attention,
    out_channels=net.channels, conditional=net.conditional,
    dropout=net.dropout, skip_rescale=net.skip_rescale,
    init_scale=net.init_scale, activation=net.activation, down=down, up=up,
    block=dict(
      partial='networks.ResidualBlock',
      shortcut_scale=1.0 if net.biggan else 0.1))
  options = dict(
    norm=(net.plain, dict(partial='networks.GroupNorm', min_channels=1)),
    encoding=(
      net.fourier, dict(partial='networks.Fourier', scale=net.fourier_scale)),
    input_skip=(net.input_skip, half),
    input_cat=(net.input_cat, True),
    input_residual=(net.input_residual, conv_down),
    output_skip=(net.output_skip, double),
    output_residual=(net.output_residual, conv_up),
  )
  return spec | {name: part for name, (has, part) in options.items() if has}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Diffusion:
  """What of the objective depends on the SDE.

  Attributes:
    process: specification of our process.
    noise: of the network's time input.
    target: of what the network puts out.
    weighting: of the loss without likelihood weighting.
    table: the process is a table of levels.
    converted: x in [-1, 1] stands for the official x in [0, 1].
  """

  process: base.Spec
  noise: base.Spec
  target: base.Spec
  weighting: base.Spec
  table: bool = False
  converted: bool = False


def _objective(
  network: base.Spec,
  net: score_sde_keys.Architecture,
  settings: score_sde_settings.Settings,
) -> tuple[base.Spec, base.Spec, dict[str, Any]]:
  """The objective, the network as its authors call it, and facts of both."""
  sde = settings.choice(
    'training.sde', dict(vpsde=_vp, subvpsde=_subvp, vesde=_ve))
  diffusion = sde(settings)
  unit_range = not settings.flag('data.centered')
  official = network | dict(unit_range=unit_range) | _divisor(
    net, settings, truncate=True)
  unit_range = unit_range and not diffusion.converted
  ours = network | dict(unit_range=unit_range) | _divisor(
    net, settings, truncate=not diffusion.table)
  likelihood = settings.flag('training.likelihood_weighting')
  mean = settings.flag('training.reduce_mean')
  spec = dict(
    type='objectives.Denoising', network=ours, process=diffusion.process,
    target=diffusion.target,
    inputs=dict(type='denoising.InputMap', noise=diffusion.noise),
    times=dict(
      type=f'objectives.{"Level" if diffusion.table else "Uniform"}Times',
      stratified=False),
    weighting=(
      dict(type='objectives.LikelihoodWeighting') if likelihood
      else diffusion.weighting),
    reduction=dict(ref=f'objectives.{"mean" if mean else "half_sum"}'))
  return spec, official, dict(
    sde=str(settings['training.sde']).lower(), continuous=not diffusion.table,
    data_range=(0, 1) if unit_range else (-1, 1))


def _divisor(
  net: score_sde_keys.Architecture,
  settings: score_sde_settings.Settings,
  *,
  truncate: bool,
) -> base.Spec:
  """The fields of a network that divides its output by sigma."""
  if not settings.flag('model.scale_by_sigma'):
    return {}
  if net.fourier:
    return dict(scale_by_sigma=True)
  return dict(scale_by_sigma=True, sigma=dict(
    type='networks.SigmaOfIndex', truncate=truncate,
    levels=settings.count('model.num_scales'),
    sigma_min=settings.number('model.sigma_min'),
    sigma_max=settings.number('model.sigma_max')))


def _subvp(settings: score_sde_settings.Settings) -> _Diffusion:
  """Sub-VP, which is always continuous."""
  return _Diffusion(
    process=dict(
      type='processes.SubVP', beta_min=settings.number('model.beta_min'),
      beta_max=settings.number('model.beta_max')),
    noise=dict(type='denoising.Linear', factor=999.0),
    target=dict(type='denoising.Noise'),
    weighting=dict(type='objectives.UniformWeighting'))


def _vp(settings: score_sde_settings.Settings) -> _Diffusion:
  """VP; the betas of a table are those of a step."""
  diffusion = _subvp(settings)
  if settings.flag('training.continuous'):
    return dataclasses.replace(
      diffusion, process=diffusion.process | dict(type='processes.VP'))
  levels = settings.count('model.num_scales')
  return dataclasses.replace(
    diffusion, table=True,
    process=dict(
      type='processes.LinearBetas', levels=levels,
      beta_min=diffusion.process['beta_min'] / levels,
      beta_max=diffusion.process['beta_max'] / levels),
    noise=dict(type='denoising.Linear', factor=float(levels), offset=-1.0))


def _ve(settings: score_sde_settings.Settings) -> _Diffusion:
  """VE, its sigmas in units of data in [-1, 1]."""
  unit = 1.0 if settings.flag('data.centered') else 2.0
  process = dict(
    type='processes.VE', sigma_min=unit * settings.number('model.sigma_min'),
    sigma_max=unit * settings.number('model.sigma_max'))
  diffusion = _Diffusion(
    process=process, converted=True,
    noise=dict(type='denoising.Sigma', unit=unit),
    target=dict(type='denoising.Score', unit=unit),
    weighting=dict(
      type='objectives.UniformWeighting', of=dict(type='denoising.Noise')))
  if settings.flag('training.continuous'):
    return diffusion
  levels = settings.count('model.num_scales')
  return dataclasses.replace(
    diffusion, table=True,
    process=process | dict(type='processes.Ladder', levels=levels),
    noise=dict(
      type='denoising.Linear', factor=-float(levels), offset=float(levels)))
