"""From the weights of one of ADM's networks to the network and its parameters.

Shared by all codes that have these networks: guided-diffusion, its parent
improved-diffusion and consistency_models.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flax import traverse_util

from difjax import errors
from difjax.interop import adm_keys, adm_settings, base, inverse
from difjax.typing import Params

_PARALLEL = 'module.'
_ATTENTION = 'networks.AttentionBlock'
_NETWORKS = ('networks.UNet', 'networks.UNetEncoder')
_CLASSIFIER_HEAD = 64  # channels of an attention head, in the scripts
_SCRIPT_HEADS = 4  # their number in the scripts' U-Nets
_COLOURS = 3
# Sides of images by multipliers, where the scripts choose the latter.
_SIZES: Final = types.MappingProxyType({
  (1, 2, 2, 2): 32,
  (1, 2, 3, 4): 64,
  (1, 1, 2, 3, 4): 128,
  (1, 1, 2, 2, 4, 4): 256,
  (0.5, 1, 1, 2, 2, 4, 4): 512,
})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A network and its weights.

  Attributes:
    network: its specification.
    params: of it, float32.
    net: what the weights tell.
    shape: (H, W, C) of an image.
    low_res: (h, w, C) of the image that an upsampler enlarges; None for others.
    learned_range: half of the output is a learned variance.
  """

  network: base.Spec
  params: Params
  net: adm_keys.Architecture
  shape: tuple[int, int, int]
  low_res: tuple[int, int, int] | None
  learned_range: bool

  @property
  def facts(self) -> dict[str, Any]:
    """What is worth knowing, for `Converted.info`."""
    facts = {
      'image_shape': self.shape, 'weights': 'as in the file', 'step': 0,
      'num_classes': (
        self.net.outputs if self.net.pool else self.net.num_classes),
    }  # fmt: skip
    return facts | ({'low_res_shape': self.low_res} if self.low_res else {})


def weights(tree: Any) -> dict[str, Any]:
  """Returns what a state dict holds by name, {} if it is none."""
  if not isinstance(tree, Mapping):
    return {}
  return {
    str(name).removeprefix(_PARALLEL): value for name, value in tree.items()}


def read(
  tree: Mapping[str, Any], settings: adm_settings.Settings, *,
  legacy: bool | None = None
) -> Found:
  """Reads a network of a checkpoint.

  Args:
    tree: what `container.read` gives.
    settings: the official arguments.
    legacy: the projection of attention is split into heads first; None for
      what `use_new_attention_order` says.

  Raises:
    ConfigError: the arguments lack something, or contradict the checkpoint.
    CheckpointError: weights are missing or unknown, or are no arrays; all of
      them are named.
  """
  arrays = weights(tree)
  strange = [
    name for name, value in arrays.items()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject]
  if strange:
    raise errors.CheckpointError(f'ADM: no arrays: {", ".join(strange)}')
  settings = settings.network(classifier=adm_keys.pool_of(arrays) is not None)
  if legacy is None:
    legacy = not settings.flag('use_new_attention_order')
  net = adm_keys.architecture(arrays, settings)
  size = _size(net, settings)
  enlarges = _enlarges(net, settings)
  colours = net.channels // (1 + enlarges)
  _check_told(net, settings, size, colours)
  heads = _Heads.read(net, settings)
  small = settings.first('small_size')
  side = settings.count(small) if small else size // 4
  return Found(
    network=_network(net, settings, size, heads, enlarges),
    params=_params(arrays, net, heads, legacy=legacy),
    net=net,
    shape=(size, size, colours),
    low_res=(side, side, colours) if enlarges else None,
    learned_range=net.pool is None and net.outputs == 2 * colours,
  )


def state_dict(
  params: Params, settings: adm_settings.Settings
) -> dict[str, np.ndarray]:
  """Returns weights by official name: the way back of `read`.

  Args:
    params: ours.
    settings: the official arguments.

  Raises:
    ConfigError: the arguments lack something.
    KeyError: the network is none of ADM's.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  net = adm_keys.described({name: a.shape for name, a in flat.items()})
  settings = settings.network(classifier=net.pool is not None)
  legacy = not settings.flag('use_new_attention_order')
  heads = _Heads.read(net, settings)
  found = {}
  for ours, theirs, turn in adm_keys.leaves(net, heads, legacy=legacy):
    array = np.asarray(flat[ours])
    shape = adm_keys.official_shape(theirs, array.shape)
    (found[theirs],) = inverse.undone(turn, array, [shape])
  return found


def arguments(network: base.Spec) -> dict[str, Any]:
  """Returns the arguments that a network's own checkpoint does not tell.

  Args:
    network: specification of a U-Net or its encoder.

  Raises:
    ConfigError: it is none of ADM's.
  """
  attention = network.get('attention', {})
  if attention.get('partial') != _ATTENTION or network['type'] not in _NETWORKS:
    raise errors.ConfigError(
      'objective.network is no U-Net of ADM: give the official arguments')
  above = network.get('attention_up') or attention
  return {
    'num_heads': attention.get('heads', 1),
    'num_heads_upsample': above.get('heads', 1),
    'num_head_channels': attention.get('head_channels', -1),
    'dropout': network.get('dropout', 0.1),
    'use_checkpoint': network.get('remat', False),
  }


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Heads:
  """The heads of attention.

  Attributes:
    count: of them on the way down.
    count_up: of them on the way up.
    width: of each, in place of their number; None for a given number.
  """

  count: int
  count_up: int
  width: int | None

  def __call__(self, channels: int, up: bool) -> int:
    """Returns how many there are.

    Raises:
      ConfigError: they do not divide the channels.
    """
    count = self.count_up if up else self.count
    divisor = self.width or count
    if divisor < 1 or channels % divisor:
      name = 'num_head_channels' if self.width else 'num_heads'
      raise errors.ConfigError(
        f'ADM: {name} is {divisor}, which does not divide the {channels} '
        'channels of an attention')
    return channels // self.width if self.width else count

  @classmethod
  def read(
    cls, net: adm_keys.Architecture, settings: adm_settings.Settings
  ) -> _Heads:
    """Reads them from the arguments.

    Raises:
      ConfigError: there is nothing about them.
    """
    width = settings.count('num_head_channels')
    given = settings.first('num_heads')
    if width == -1 and net.pool and not given and settings.scripted:
      width = _CLASSIFIER_HEAD
    if given:
      count = settings.count(given)
    elif not settings.scripted:
      count = 1  # the constructor's default
    elif width != -1 or 'num_channels' in settings:
      count = _SCRIPT_HEADS
    else:
      raise errors.ConfigError(
        'ADM: a checkpoint does not tell how attention is split into heads; '
        'give the official arguments, or --arch.num_heads=N or '
        '--arch.num_head_channels=N')
    up = settings.count('num_heads_upsample')
    return cls(
      count=count, count_up=count if up == -1 else up,
      width=None if width == -1 else width)


def _size(net: adm_keys.Architecture, settings: adm_settings.Settings) -> int:
  """Returns the side of images.

  Raises:
    ConfigError: nothing tells it, or two do otherwise.
  """
  factor = 2 ** (net.levels - 1)
  told = round(net.places**0.5) * factor
  name = settings.first('large_size', 'image_size')
  size = settings.count(name) if name else told or _SIZES.get(net.multipliers)
  if not size or size % factor or (told and size != told):
    fits = told or f'a multiple of {factor}'
    raise errors.ConfigError(
      f'ADM: the side of images is {size or "not told"}, and should be {fits}: '
      'give --arch.image_size=N')
  return size


def _enlarges(
  net: adm_keys.Architecture, settings: adm_settings.Settings
) -> bool:
  """Says whether the network is an upsampler: it sees two images."""
  if 'in_channels' in settings:
    colours = settings.count('in_channels')
    if net.channels != 2 * colours:
      settings.agree('in_channels', colours, net.channels)
    return net.channels == 2 * colours
  upsampler = settings.first('large_size', 'small_size') is not None
  return upsampler or (net.pool is None and net.channels == 2 * _COLOURS)


def _check_told(
  net: adm_keys.Architecture, settings: adm_settings.Settings, size: int,
  colours: int
) -> None:
  """Refuses arguments that contradict the checkpoint.

  Raises:
    ConfigError: the first that does.
  """
  for name, there in {
    'model_channels': net.width,
    'num_channels': net.width,
    'num_res_blocks': net.blocks,
    'out_channels': net.outputs,
    'num_classes': net.outputs if net.pool else net.num_classes or None,
    'dims': 2,
  }.items():
    if name in settings:
      settings.agree(name, settings.count(name), there)
  for name, there in {
    'class_cond': None if net.pool else net.num_classes > 0,
    'learn_sigma': None if net.pool else net.outputs == 2 * colours,
    'use_scale_shift_norm': net.scale_shift,
    'resblock_updown': net.updown if net.levels > 1 else None,
    'conv_resample': None if net.updown or net.levels == 1 else net.convolved,
  }.items():
    if name in settings and there is not None:
      settings.agree(name, settings.flag(name), there)
  if net.pool and 'pool' in settings:
    settings.agree('pool', str(settings['pool']), net.pool)
  if 'channel_mult' in settings:
    here = [int(net.width * m) for m in settings.numbers('channel_mult')]
    there = [net.level(i) for i in range(net.levels)]
    settings.agree('channel_mult', here, there)
  if 'attention_resolutions' in settings:
    here = _attention(net, settings, size)
    settings.agree('attention_resolutions', here, set(net.attention))


def _attention(
  net: adm_keys.Architecture, settings: adm_settings.Settings, size: int
) -> set[int]:
  """Returns the levels at which attention stands by the arguments."""
  values = settings.numbers('attention_resolutions')
  factors = [size // max(int(value), 1) for value in values]
  factors = factors if settings.scripted else values
  return {level for level in range(net.levels) if 2**level in factors}


def _params(
  arrays: Mapping[str, np.ndarray], net: adm_keys.Architecture, heads: _Heads,
  *, legacy: bool
) -> Params:
  """Turns weights into ours.

  Raises:
    CheckpointError: some are missing or unknown; all are named.
  """
  leaves = list(adm_keys.leaves(net, heads, legacy=legacy))
  known = {theirs for _, theirs, _ in leaves}
  faults = {'missing': known - arrays.keys(), 'unknown': arrays.keys() - known}
  listed = '; '.join(
    f'{fault}: {", ".join(sorted(names))}'
    for fault, names in faults.items() if names)
  if listed:
    raise errors.CheckpointError(
      f'ADM: the weights are not those of one network; {listed}')
  return traverse_util.unflatten_dict({
    ours: np.ascontiguousarray(turn(arrays[theirs]), np.float32)
    for ours, theirs, turn in leaves}, sep='/')


def _network(
  net: adm_keys.Architecture, settings: adm_settings.Settings, size: int,
  heads: _Heads, enlarges: bool
) -> base.Spec:
  """The specification of the network."""
  block = dict(
    partial='networks.ResidualBlock', scale_shift=net.scale_shift,
    bare_shortcut=True)
  down, up = (
    dict(ref=f'networks.{name}') for name in ('average_down', 'nearest_up'))
  if net.updown:
    down, up = (block | dict(resampling=each) for each in (down, up))
  elif net.convolved:
    down = dict(partial='networks.ConvDown', centred=True)
    up = dict(partial='networks.ConvUp')
  else:
    down, up = (
      dict(partial='networks.Resample', resampling=each) for each in (down, up))
  attention = _attention_spec(heads.count, heads.width)
  spec = dict(
    channels=net.width, stem_channels=net.stem, multipliers=net.multipliers,
    blocks_per_level=net.blocks,
    attention_resolutions=tuple(size // 2**i for i in net.attention),
    dropout=settings.number('dropout'), skip_rescale=False,
    encoding=dict(
      partial='networks.Positional', cos_first=True, endpoint=False),
    norm=dict(partial='networks.GroupNorm', min_channels=1, epsilon=1e-5),
    block=block, down=down, attention=attention,
    remat=settings.flag('use_checkpoint'))
  if net.pool:
    return dict(
      type='networks.UNetEncoder', num_classes=net.outputs,
      pool=_pool(net, heads), **spec)
  separate = heads.width is None and heads.count_up != heads.count
  return dict(
    type='networks.UNet', up=up, attention_every_up_block=True,
    attention_up=(
      _attention_spec(heads.count_up, None) if separate else None),
    out_channels=net.outputs, num_classes=net.num_classes, null_label=False,
    low_res=enlarges, **spec)


def _attention_spec(count: int, width: int | None) -> base.Spec:
  split = dict(heads=count) if width is None else dict(head_channels=width)
  return dict(partial=_ATTENTION, **split)


def _pool(net: adm_keys.Architecture, heads: _Heads) -> base.Spec:
  """The head of a classifier."""
  width = heads.width or _CLASSIFIER_HEAD
  return dict(_POOLS[net.pool]) | (
    dict(head_channels=width) if net.places else {})


_POOLS: Final = types.MappingProxyType({
  'adaptive': dict(partial='networks.AveragePool'),
  'attention': dict(partial='networks.AttentionPool'),
  'spatial': dict(partial='networks.SpatialPool'),
  'spatial_v2': dict(partial='networks.SpatialPool', normed=True),
})
