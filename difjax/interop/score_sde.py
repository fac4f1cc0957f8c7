"""Checkpoints of score SDE's U-Nets: `ddpm` and `ncsnpp`, PyTorch or Flax.

A `.pth` file holds the raw weights by name (`model`) and their average as a
list without names (`ema.shadow_params`), in the order of the names, without
what is not trained. A Flax file (`checkpoint_7`) holds both as nested dicts,
`params_ema` and `optimizer.target`.

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
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from difjax import config as configs
from difjax import errors
from difjax.interop import base, score_sde_keys
from difjax.typing import Params

_FAMILY = 'score_sde'
_TABLE = 'sigmas'  # PyTorch keeps the noise levels, descending, as a buffer
_PARALLEL = 'module.'

Arrays = Mapping[str, np.ndarray]


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  if not isinstance(tree, Mapping):
    return False
  if isinstance(tree.get('model'), Mapping):
    return any('all_modules.' in str(name) for name in tree['model'])
  params = tree.get('params_ema')
  return isinstance(params, Mapping) and any(
    name.startswith('ResnetBlock') for name in _flat(params))


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
  flax = 'params_ema' in tree
  arrays, table = _flax(tree, ema) if flax else _torch(tree, ema)
  settings = score_sde_keys.Settings(config, _told(table))
  net = score_sde_keys.architecture(settings)
  _check_table(table, settings)
  spec, network, facts = _objective(_network(net), net, settings)
  names = dict(score_sde_keys.names(net, flax=flax))
  params, unused = _params(arrays, names, _shapes(network, net), net)
  info = dict(
    family=_FAMILY, model=str(settings['model.name']),
    container='flax' if flax else 'torch', weights='ema' if ema else 'raw',
    step=int(np.asarray(tree.get('step', 0))),
    image_shape=(net.size, net.size, net.channels), unused=unused, **facts)
  return base.Converted(spec=spec, params=params, network=network, info=info)


def _torch(
  tree: Mapping[str, Any], ema: bool
) -> tuple[Arrays, np.ndarray | None]:
  """The weights of a .pth file by name, and its table of levels."""
  model = _flat({
    name.removeprefix(_PARALLEL): array
    for name, array in tree['model'].items()})
  table = model.pop(_TABLE, None)
  if not ema:
    return model, table
  try:
    average = [np.asarray(array) for array in tree['ema']['shadow_params']]
  except (KeyError, TypeError):
    raise errors.CheckpointError(
      'score SDE: the checkpoint has no ema.shadow_params; load its raw '
      'weights with ema=False') from None
  # Fourier frequencies are parameters without gradient: not in the average.
  trained = [n for n in model if not n.endswith('.W') or '.NIN_' in n]
  if len(average) != len(trained):
    raise errors.CheckpointError(
      f'score SDE: ema.shadow_params has {len(average)} arrays, for '
      f'{len(trained)} trained weights in model')
  for name, array in zip(trained, average, strict=True):
    if array.shape != model[name].shape:
      raise errors.CheckpointError(
        f'score SDE: ema.shadow_params at the place of {name} has shape '
        f'{array.shape}, not {model[name].shape}')
  return model | dict(zip(trained, average, strict=True)), table


def _flax(tree: Mapping[str, Any], ema: bool) -> tuple[Arrays, None]:
  """The weights of a Flax file by name."""
  try:
    params = tree['params_ema'] if ema else tree['optimizer']['target']
  except KeyError as error:
    raise errors.CheckpointError(
      f'score SDE: the checkpoint has no {error}') from None
  return _flat(params.get('params', params)), None


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, np.ndarray]:
  """Nested dicts as one, names joined by dots."""
  found: dict[str, np.ndarray] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      found |= _flat(value, f'{prefix}{name}.')
    else:
      array = found[f'{prefix}{name}'] = np.asarray(value)
      if array.dtype.hasobject:
        raise errors.CheckpointError(f'score SDE: {prefix}{name} is no array')
  return found


def _told(table: np.ndarray | None) -> dict[str, Any]:
  """What the table of levels tells of the config."""
  if table is None:
    return {}
  return {
    'model.sigma_max': float(table[0]), 'model.sigma_min': float(table[-1]),
    'model.num_scales': len(table)}


def _check_table(
  table: np.ndarray | None, settings: score_sde_keys.Settings
) -> None:
  """Refuses a config of other noise levels than the checkpoint's."""
  for name, told in _told(table).items():
    if not np.isclose(float(settings[name]), told, rtol=1e-5):
      raise errors.ConfigError(
        f'score SDE: {name} is {settings[name]} in the config, but the '
        f'checkpoint was made with {told:g}')


def _shapes(
  network: base.Spec, net: score_sde_keys.Architecture
) -> dict[str, tuple[int, ...]]:
  """The shapes of our weights, by path."""
  module = configs.build(network, path='network')
  image = jax.ShapeDtypeStruct(
    (1, net.size, net.size, net.channels), jnp.float32)
  noise = jax.ShapeDtypeStruct((1,), jnp.float32)
  try:
    tree = jax.eval_shape(module.init, jax.random.key(0), image, noise)
  except ValueError as error:
    raise errors.ConfigError(f'score SDE: {error}') from error
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree['params'])}


def _params(
  arrays: Arrays,
  names: Mapping[str, tuple[str, ...]],
  shapes: Mapping[str, tuple[int, ...]],
  net: score_sde_keys.Architecture,
) -> tuple[Params, tuple[str, ...]]:
  """Our weights, and the names of those that the network never uses.

  A network that does not see the noise keeps weights for it all the same.
  """
  wanted = {name for path in shapes for name in names[path]}
  idle = names.keys() - shapes.keys()
  inert = {name for path in idle for name in names[path]} & arrays.keys()
  unused = set() if net.conditional else inert
  params: dict[str, Any] = {}
  wrong = []
  for path, shape in shapes.items():
    parts = [_ours(name, arrays[name]) for name in names[path]
             if name in arrays]
    if len(parts) < len(names[path]):
      continue
    array = np.concatenate(parts, -1)
    if _squeezed(array.shape) != _squeezed(shape):
      wrong.append(f'{" + ".join(names[path])} {array.shape} for {shape}')
      continue
    *parents, leaf = path.split('/')
    place = params
    for parent in parents:
      place = place.setdefault(parent, {})
    place[leaf] = np.asarray(array.reshape(shape), np.float32)
  _check({
    'missing': sorted(wanted - arrays.keys()),
    'unknown': sorted(arrays.keys() - wanted - unused),
    'of another shape': sorted(wrong)})
  return params, tuple(sorted(unused))


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


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
  """A shape without ones: old norms are (1, 1, 1, C), dense 1 x 1 kernels."""
  return tuple(size for size in shape if size != 1)


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
  settings: score_sde_keys.Settings,
) -> tuple[base.Spec, base.Spec, dict[str, Any]]:
  """The objective, the network as its authors call it, and facts of both."""
  sde = settings.choice(
    'training.sde', dict(vpsde=_vp, subvpsde=_subvp, vesde=_ve))
  diffusion = sde(settings)
  unit_range = not settings['data.centered']
  official = network | dict(unit_range=unit_range) | _divisor(
    net, settings, truncate=True)
  unit_range = unit_range and not diffusion.converted
  ours = network | dict(unit_range=unit_range) | _divisor(
    net, settings, truncate=not diffusion.table)
  likelihood = settings['training.likelihood_weighting']
  mean = settings['training.reduce_mean']
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
  settings: score_sde_keys.Settings,
  *,
  truncate: bool,
) -> base.Spec:
  """The fields of a network that divides its output by sigma."""
  if not settings['model.scale_by_sigma']:
    return {}
  if net.fourier:
    return dict(scale_by_sigma=True)
  return dict(scale_by_sigma=True, sigma=dict(
    type='networks.SigmaOfIndex', truncate=truncate,
    levels=int(settings['model.num_scales']),
    sigma_min=float(settings['model.sigma_min']),
    sigma_max=float(settings['model.sigma_max'])))


def _subvp(settings: score_sde_keys.Settings) -> _Diffusion:
  """Sub-VP, which is always continuous."""
  return _Diffusion(
    process=dict(
      type='processes.SubVP', beta_min=float(settings['model.beta_min']),
      beta_max=float(settings['model.beta_max'])),
    noise=dict(type='denoising.Linear', factor=999.0),
    target=dict(type='denoising.Noise'),
    weighting=dict(type='objectives.UniformWeighting'))


def _vp(settings: score_sde_keys.Settings) -> _Diffusion:
  """VP; the betas of a table are those of a step."""
  diffusion = _subvp(settings)
  if settings['training.continuous']:
    return dataclasses.replace(
      diffusion, process=diffusion.process | dict(type='processes.VP'))
  levels = int(settings['model.num_scales'])
  return dataclasses.replace(
    diffusion, table=True,
    process=dict(
      type='processes.LinearBetas', levels=levels,
      beta_min=diffusion.process['beta_min'] / levels,
      beta_max=diffusion.process['beta_max'] / levels),
    noise=dict(type='denoising.Linear', factor=float(levels), offset=-1.0))


def _ve(settings: score_sde_keys.Settings) -> _Diffusion:
  """VE, its sigmas in units of data in [-1, 1]."""
  unit = 1.0 if settings['data.centered'] else 2.0
  process = dict(
    type='processes.VE', sigma_min=unit * float(settings['model.sigma_min']),
    sigma_max=unit * float(settings['model.sigma_max']))
  diffusion = _Diffusion(
    process=process, converted=True,
    noise=dict(type='denoising.Sigma', unit=unit),
    target=dict(type='denoising.Score', unit=unit),
    weighting=dict(
      type='objectives.UniformWeighting', of=dict(type='denoising.Noise')))
  if settings['training.continuous']:
    return diffusion
  levels = int(settings['model.num_scales'])
  return dataclasses.replace(
    diffusion, table=True,
    process=process | dict(type='processes.Ladder', levels=levels),
    noise=dict(
      type='denoising.Linear', factor=-float(levels), offset=float(levels)))
