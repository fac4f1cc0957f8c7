r"""Checkpoints of EDM2: snapshots, training states and plain state dicts.

| official name                 | ours                                        |
|-------------------------------|---------------------------------------------|
| unet.emb_fourier, emb_noise, emb_label | encoding, time, label              |
| unet.enc.RxR_conv             | stem                                        |
| unet.enc.RxR_down, _blockK    | down_(L-1)_resample, down_L_block_K         |
| unet.dec.RxR_in0, _in1        | mid_block_0, mid_block_1                    |
| unet.dec.RxR_up, _blockK      | up_(L+1)_resample, up_L_block_K             |
| unet.out_gain, out_conv       | gain, head                                  |
| logvar_fourier, logvar_linear | log_variance/encoding, log_variance/out     |

with R the size of level L. Weights are output first there; channels of queries,
keys and values are ordered (head, channel, which), ours (which, head, channel).

Snapshots are in float16. The official generator computes with their weights in
float32, yet divides each gain by the root of its layer's N inputs in float16;
so the gain that makes our output the generator's, which it moves in the fifth
digit, is

  g' = half(g / sqrt N) sqrt N.                                           (1)

With `half_gains` False among the arguments, which is not of the official ones,
gains are taken as they are: the output of a snapshot that was cast to float32.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import types
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flax import traverse_util

from difjax import errors
from difjax.interop import base, persistent
from difjax.typing import Params

_FAMILY = 'edm2'
_MARK = 'unet.out_gain'  # what only these networks have
_KINDS = ('Precond',)  # classes of pickled networks
_LATENT = ('StabilityVAEEncoder',)  # what made the images that they see
_ORDER = (  # of the constructor's arguments, where they come without names
  'img_resolution', 'img_channels', 'label_dim', 'use_fp16', 'sigma_data',
  'logvar_channels',
)  # fmt: skip
# Official arguments that shapes do not tell, and their defaults.
_DEFAULTS: Final = types.MappingProxyType({
  'attn_balance': 0.3, 'channels_per_head': 64, 'clip_act': 256.0,
  'concat_balance': 0.5, 'dropout': 0.0, 'label_balance': 0.5,
  'res_balance': 0.3, 'resample_filter': (1.0, 1.0), 'sigma_data': 0.5,
})  # fmt: skip
_OTHERS = ('attn_resolutions', 'half_gains', 'num_blocks')
# Of our network's fields those that are such an argument.
_FIELDS: Final = types.MappingProxyType({
  'attention_balance': 'attn_balance',
  'channels_per_head': 'channels_per_head',
  'clip': 'clip_act',
  'concat_balance': 'concat_balance',
  'dropout': 'dropout',
  'kernel': 'resample_filter',
  'label_balance': 'label_balance',
  'residual_balance': 'res_balance',
})
# Those that make widths only together, and their defaults.
_WIDTHS: Final = types.MappingProxyType({
  'model_channels': 192, 'channel_mult': (1, 2, 3, 4),
  'channel_mult_noise': None, 'channel_mult_emb': None,
})  # fmt: skip
_TIMES: Final = types.MappingProxyType({'P_mean': -0.4, 'P_std': 1.0})
_TOP: Final = types.MappingProxyType({
  'unet.out_gain': 'gain',
  'unet.out_conv.weight': 'head/kernel',
  'unet.emb_noise.weight': 'time/kernel',
  'unet.emb_label.weight': 'label/kernel',
  'unet.emb_fourier.freqs': 'encoding/frequencies',
  'unet.emb_fourier.phases': 'encoding/phases',
  'logvar_fourier.freqs': 'log_variance/encoding/frequencies',
  'logvar_fourier.phases': 'log_variance/encoding/phases',
  'logvar_linear.weight': 'log_variance/out/kernel',
})
_PARTS: Final = types.MappingProxyType({
  'emb_gain': 'gain',
  'emb_linear.weight': 'emb/kernel',
  'conv_res0.weight': 'conv_0/kernel',
  'conv_res1.weight': 'conv_1/kernel',
  'conv_skip.weight': 'shortcut/kernel',
  'attn_qkv.weight': 'qkv/kernel',
  'attn_proj.weight': 'out/kernel',
})
_BLOCK = re.compile(
  r'unet\.(enc|dec)\.(\d+)x\d+_(conv|down|up|in|block)(\d*)\.(.+)')
# What scales each gain: the layer whose inputs it is divided by the root of.
_GAINS: Final = types.MappingProxyType({
  'unet.out_gain': 'unet.out_conv.weight', 'emb_gain': 'emb_linear.weight',
})  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class _File:
  """What a file holds.

  Attributes:
    arrays: by official name.
    given: arguments of the official constructor.
    times: of the official loss.
    facts: for `Converted.info`.
  """

  arrays: dict[str, np.ndarray]
  given: Mapping[str, Any]
  times: Mapping[str, float]
  facts: Mapping[str, Any]


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  if not isinstance(tree, Mapping):
    return _is_pickled(tree)
  weights = (tree, tree.get('net'))
  return _is_pickled(tree.get('ema')) or any(
    isinstance(found, Mapping) and _MARK in found for found in weights)


def _is_pickled(module: Any) -> bool:
  return getattr(module, 'kind', None) in _KINDS


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns the official arguments of ours that a state dict does not tell."""
  network, target = objective['network'], objective.get('target', {})
  found = {name: network[field] for field, name in _FIELDS.items()
           if field in network}
  if 'data_std' in target:
    found['sigma_data'] = target['data_std']
  return found


def convert(
  tree: Mapping[str, Any],
  config: Mapping[str, Any] | None = None,
  *,
  ema: bool = True,
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: arguments of the official constructor, within `{'config': ...}` or
      not; a snapshot has them all, a state dict tells the sizes and leaves the
      others to the official defaults.
    ema: averaged weights, not those of the last step.

  Raises:
    CheckpointError: the weights asked for are not there, or some are unknown.
    ConfigError: an argument is of the wrong kind, or misspelt.
  """
  file = _read(tree, ema)
  config = dict(config or {})
  config = config.get('config', config)
  given = {**file.given, **config}
  widths = _WIDTHS if _WIDTHS.keys() & given.keys() else {}
  settings = {**_DEFAULTS, **_told(file.arrays), **widths, **given}
  size, channels = settings['img_resolution'], settings['img_channels']
  base.check_names(
    'EDM2', settings, {*_ORDER, *_DEFAULTS, *_WIDTHS, *_OTHERS})
  try:
    network = _network(settings)
    spec = _objective(network, settings, file.times)
  except (TypeError, ValueError) as error:
    raise errors.ConfigError(f'EDM2: {error} in the config') from error
  _check_size(network, file.arrays)
  params = _params(file.arrays, settings)
  info = dict(
    family=_FAMILY, model='Precond', container='torch',
    image_shape=(size, size, channels), num_classes=settings['label_dim'],
    **file.facts)
  return base.Converted(spec=spec, params=params, network=network, info=info)


def _read(tree: Mapping[str, Any], ema: bool) -> _File:
  """Takes weights and facts out of a checkpoint.

  Raises:
    CheckpointError: the weights that are asked for are not in it.
  """
  tree = {'ema': tree} if _is_pickled(tree) else tree
  arrays, given, times, facts = tree, {}, _TIMES, {'weights': 'as saved'}
  snapshot, state = tree.get('ema'), tree.get('net')
  if _is_pickled(snapshot):
    if not ema:
      raise errors.CheckpointError(
        'EDM2: a snapshot holds averaged weights only; give the training state '
        'to load the others')
    arrays = persistent.arrays(snapshot)
    given = dict(zip(_ORDER, snapshot.args, strict=False)) | snapshot.keywords
    told = getattr(tree.get('loss_fn'), 'state', {})
    times = {name: told.get(name, value) for name, value in _TIMES.items()}
    encoder = getattr(tree.get('encoder'), 'kind', None)
    facts = {
      'weights': 'ema', 'encoder': encoder, 'latents': encoder in _LATENT}
  elif isinstance(state, Mapping):
    arrays, facts = dict(state), {'weights': 'raw'}
    if ema and not isinstance(snapshot, Mapping):
      raise errors.CheckpointError(
        'EDM2: the training state has no averaged weights; load the last ones '
        'with ema=False')
    if ema:
      arrays = dict(snapshot['emas'][0])
      facts = {'weights': 'ema', 'ema_width': float(snapshot['stds'][0])}
  return _File(arrays=arrays, given=given, times=times, facts=facts)


def _told(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """What names and shapes tell of the constructor's arguments."""
  found = [match.groups() for name in arrays if (match := _BLOCK.match(name))]
  down = [
    (int(size), *rest) for way, size, *rest in found if way.startswith('enc')]
  sizes = sorted({size for size, *_ in down}, reverse=True)
  widths = [
    len(arrays[f'unet.enc.{size}x{size}_block0.conv_res1.weight'])
    for size in sizes]
  embedding, noise = arrays['unet.emb_noise.weight'].shape
  unit = math.gcd(*widths, embedding, noise)
  attend = {size for size, _, _, rest in down if rest.startswith('attn')}
  label = arrays.get('unet.emb_label.weight')
  return {
    'img_resolution': sizes[0],
    'img_channels': len(arrays['unet.out_conv.weight']),
    'label_dim': 0 if label is None else label.shape[1],
    'model_channels': unit,
    'channel_mult': tuple(width // unit for width in widths),
    'channel_mult_noise': None if noise == widths[0] else noise // unit,
    'channel_mult_emb': (
      None if embedding == max(widths) else embedding // unit),
    'num_blocks': len({
      index for *_, part, index, _ in down if part.startswith('block')}),
    'attn_resolutions': tuple(sorted(attend)),
    'logvar_channels': arrays['logvar_linear.weight'].shape[1],
  }


def _check_size(
  network: base.Spec, arrays: Mapping[str, np.ndarray]
) -> None:
  """Refuses numbers that would take for ever: no file has such a network.

  Raises:
    CheckpointError: there are fewer weights than blocks.
  """
  blocks = network['blocks_per_level'] * len(network['multipliers'])
  if blocks > len(arrays):
    raise errors.CheckpointError(
      f'EDM2: num_blocks and channel_mult make {blocks} blocks, of '
      f'{len(arrays)} weights')


def _params(
  arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> Params:
  """Our weights as nested dicts.

  Raises:
    CheckpointError: some are unknown.
  """
  paths = {name: _path(name, settings['img_resolution']) for name in arrays}
  unknown = sorted(name for name, path in paths.items() if path is None)
  if unknown:
    raise errors.CheckpointError(
      f'EDM2: the network has no {", ".join(unknown)}')
  return traverse_util.unflatten_dict({
    path: _ours(name, arrays, settings) for name, path in paths.items()},
    sep='/')


def _path(name: str, size: int) -> str | None:
  """Our path of an official name, None for a name that is unknown."""
  if name in _TOP:
    return _TOP[name]
  match = _BLOCK.fullmatch(name)
  if match is None:
    return None
  way, side, part, index, rest = match.groups()
  level = (size // int(side)).bit_length() - 1
  side = {'enc': 'down', 'dec': 'up'}[way]
  block = {
    'conv': 'stem', 'down': f'down_{level - 1}_resample',
    'up': f'up_{level + 1}_resample', 'in': f'mid_block_{index}',
    'block': f'{side}_{level}_block_{index}',
  }[part]  # fmt: skip
  leaf = 'kernel' if part.startswith('conv') else _PARTS.get(rest)
  return f'{block}/{leaf}' if leaf else None


def _ours(
  name: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> np.ndarray:
  """A weight as we have it: input before output, sides first, float32."""
  array = np.asarray(arrays[name])
  prefix, _, last = name.rpartition('.')
  layer = _GAINS.get(name) or f'{prefix}.{_GAINS.get(last)}'
  half = array.dtype == np.float16 and settings.get('half_gains', True)
  if half and layer in arrays:
    root = np.float32(math.sqrt(math.prod(arrays[layer].shape[1:])))
    scale = (array.astype(np.float32) / root).astype(np.float16)
    return scale.astype(np.float32) * root
  array = array.astype(np.float32)
  if prefix.endswith('attn_qkv'):
    array = _qkv(prefix, array, settings['channels_per_head'])
  if array.ndim == 4:
    array = array.transpose(2, 3, 1, 0)
    return array[0, 0] if array.shape[:2] == (1, 1) else array
  return array.T


def _qkv(name: str, array: np.ndarray, width: Any) -> np.ndarray:
  """Orders the output features of a projection [3C, C, 1, 1] as we do.

  Raises:
    ConfigError: heads of that width do not fit the channels.
  """
  channels = array.shape[1]
  try:
    heads = channels // operator.index(width)
  except (TypeError, ZeroDivisionError):
    heads = 0
  if heads < 1 or channels % heads:
    raise errors.ConfigError(
      f'EDM2: channels_per_head is {width!r}, which does not fit the '
      f'{channels} channels of {name}: give --arch.channels_per_head=N')
  array = array.reshape(heads, channels // heads, 3, channels)
  return array.transpose(2, 0, 1, 3).reshape(3 * channels, channels, 1, 1)


def _network(settings: Mapping[str, Any]) -> base.Spec:
  """The network, its sizes and options in our terms."""
  given = {name: settings[name] for name in _FIELDS.values()}
  options = {field: _like(_DEFAULTS[name], given[name])
             for field, name in _FIELDS.items()}
  multiplier = lambda of: _like(1, settings[f'channel_mult_{of}'])
  return dict(
    type='networks.MPUNet', channels=_like(1, settings['model_channels']),
    multipliers=_like((1,), settings['channel_mult']),
    noise_multiplier=multiplier('noise'),
    embedding_multiplier=multiplier('emb'),
    blocks_per_level=_like(1, settings['num_blocks']),
    attention_resolutions=_like((1,), settings['attn_resolutions']),
    out_channels=_like(1, settings['img_channels']),
    num_classes=_like(1, settings['label_dim']), **options)


def _like(default: Any, value: Any) -> Any:
  """A value of the kind of a default; None stays."""
  if value is None:
    return None
  if isinstance(default, tuple):
    return tuple(_like(default[0], each) for each in value)
  return operator.index(value) if type(default) is int else float(value)


def _objective(
  network: base.Spec, settings: Mapping[str, Any], times: Mapping[str, float]
) -> base.Spec:
  """The objective: EDM's, under a learned variance."""
  std = float(settings['sigma_data'])
  return dict(
    type='objectives.UncertaintyDenoising', network=network,
    process=dict(type='processes.EDM'),
    target=dict(type='denoising.Preconditioned', data_std=std),
    inputs=dict(
      type='denoising.InputMap',
      scale=dict(type='denoising.UnitVariance', data_std=std),
      noise=dict(type='denoising.LogSigma', factor=0.25)),
    times=dict(
      type='objectives.LogNormalTimes', mean=float(times['P_mean']),
      std=float(times['P_std'])),
    weighting=dict(type='objectives.EDMWeighting', data_std=std),
    log_variance=dict(
      type='networks.LogVariance', width=_like(1, settings['logvar_channels'])))
