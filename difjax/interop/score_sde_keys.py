"""The U-Nets of score SDE: their configs, and the names of their weights.

Both official codes make the same layers in the same order. PyTorch numbers
them all (`all_modules.7.Conv_0.weight`), Flax by class and place in that order
(`ResnetBlockBigGANpp_2/Conv_0/kernel`). Layers without weights count in Flax;
in PyTorch all but the resampling of skip pyramids do.
"""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Iterator
from typing import Any, Final

from difjax.interop import score_sde_settings

# Layout: of each weight our name, PyTorch's and Flax's.
_NORM = (('scale', 'weight', 'scale'), ('bias', 'bias', 'bias'))
_LINEAR = (('kernel', 'weight', 'kernel'), ('bias', 'bias', 'bias'))
_FILTERED = (('kernel', 'weight', 'weight'), ('bias', 'bias', 'bias'))
_NIN = (('kernel', 'W', 'W'), ('bias', 'b', 'b'))
_FREQUENCIES = (('W', 'W', 'W'),)
_ACTIVATIONS: Final = types.MappingProxyType({
  'elu': dict(ref='flax.linen.elu'),
  'lrelu': dict(partial='flax.linen.leaky_relu', negative_slope=0.2),
  'relu': dict(ref='flax.linen.relu'),
  'swish': dict(ref='flax.linen.silu'),
})
Leaf = tuple[str, tuple[str, ...]]  # our path, the official names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
  """What an official U-Net is made of.

  Attributes:
    size: side of the images.
    channels: of the images.
    width: channels of the first level.
    multipliers: channels of each level over `width`.
    blocks: per level on the way down.
    attention: sides at which attention follows a block.
    activation: its specification.
    dropout: rate.
    conditional: whether the network sees the noise level.
    fourier: by the Gaussian Fourier code, not the sinusoidal one.
    fourier_scale: of that code.
    convolved: resampling outside blocks has a convolution.
    plain: DDPM's own network, not one of the NCSN++ family.
    biggan: blocks resample.
    kernel: taps of the FIR filter, none for averages and nearest neighbours.
    skip_rescale: sums are divided by sqrt 2.
    init_scale: of the last layers.
    input_skip: progressive input by images.
    input_cat: joined by concatenation.
    input_residual: progressive input by features.
    output_skip: progressive output of images.
    output_residual: progressive output of features.
  """

  size: int
  channels: int
  width: int
  multipliers: tuple[int, ...]
  blocks: int
  attention: tuple[int, ...]
  activation: dict[str, Any]
  dropout: float
  conditional: bool
  convolved: bool
  plain: bool
  fourier: bool = False
  fourier_scale: float = 16.0
  biggan: bool = False
  kernel: tuple[float, ...] = ()
  skip_rescale: bool = False
  init_scale: float = 0.0
  input_skip: bool = False
  input_cat: bool = False
  input_residual: bool = False
  output_skip: bool = False
  output_residual: bool = False


def architecture(settings: score_sde_settings.Settings) -> Architecture:
  """Reads the network's part of a config.

  Raises:
    ConfigError: a field is missing or has an unknown value.
  """
  plain = settings.choice('model.name', dict(ddpm=True, ncsnpp=False))
  biggan = not plain and settings.choice(
    'model.resblock_type', dict(ddpm=False, biggan=True))
  return Architecture(
    size=settings.count('data.image_size'),
    channels=settings.count('data.num_channels'),
    width=settings.count('model.nf'),
    multipliers=settings.counts('model.ch_mult'),
    blocks=settings.count('model.num_res_blocks'),
    attention=settings.counts('model.attn_resolutions'),
    activation=dict(settings.choice('model.nonlinearity', _ACTIVATIONS)),
    dropout=settings.number('model.dropout'),
    conditional=settings.flag('model.conditional'),
    convolved=not biggan and settings.flag('model.resamp_with_conv'),
    plain=plain,
    biggan=biggan,
    **({} if plain else _plus_plus(settings)),
  )


def _plus_plus(settings: score_sde_settings.Settings) -> dict[str, Any]:
  """Reads what only the NCSN++ family has."""
  neither, first, second = (False, False), (True, False), (False, True)
  input_skip, input_residual = settings.choice(
    'model.progressive_input',
    dict(none=neither, input_skip=first, residual=second))
  output_skip, output_residual = settings.choice(
    'model.progressive', dict(none=neither, output_skip=first, residual=second))
  kernel = settings['model.fir_kernel'] if settings.flag('model.fir') else ()
  return dict(
    fourier=settings.choice(
      'model.embedding_type', dict(fourier=True, positional=False)),
    fourier_scale=settings.number('model.fourier_scale'),
    kernel=tuple(map(float, kernel)),
    skip_rescale=settings.flag('model.skip_rescale'),
    init_scale=settings.number('model.init_scale'),
    input_skip=input_skip,
    input_cat=input_skip and settings.choice(
      'model.progressive_combine', dict(sum=False, cat=True)),
    input_residual=input_residual,
    output_skip=output_skip,
    output_residual=output_residual,
  )


@dataclasses.dataclass(frozen=True)
class _Layer:
  """A layer of the official network.

  Attributes:
    kind: its class in Flax.
    leaves: of each weight our path, PyTorch's name and Flax's, within it.
    listed: PyTorch numbers it.
  """

  kind: str
  leaves: tuple[tuple[str, str, str], ...] = ()
  listed: bool = True


def _leaves(
  layout: tuple[tuple[str, str, str], ...], ours: str, theirs: str = ''
) -> tuple[tuple[str, str, str], ...]:
  """The weights of one linear layer or norm within a layer."""
  inside = f'{theirs}.' if theirs else ''
  return tuple(
    (f'{ours}/{name}', inside + torch, inside + flax)
    for name, torch, flax in layout)


def _block(net: Architecture, name: str) -> _Layer:
  shortcut = (
    _leaves(_LINEAR, f'{name}/shortcut', 'Conv_2') if net.biggan
    else _leaves(_NIN, f'{name}/shortcut', 'NIN_0'))
  kind = 'BigGANpp' if net.biggan else 'DDPM' if net.plain else 'DDPMpp'
  return _Layer(
    f'ResnetBlock{kind}',
    _leaves(_NORM, f'{name}/norm_0/norm', 'GroupNorm_0')
    + _leaves(_LINEAR, f'{name}/conv_0', 'Conv_0')
    + _leaves(_LINEAR, f'{name}/emb', 'Dense_0')
    + _leaves(_NORM, f'{name}/norm_1/norm', 'GroupNorm_1')
    + _leaves(_LINEAR, f'{name}/conv_1', 'Conv_1')
    + shortcut)


def _attention(net: Architecture, name: str) -> _Layer:
  """One attention; its three first projections are one of ours."""
  leaves = _leaves(_NORM, f'{name}/norm/norm', 'GroupNorm_0')
  for i, ours in enumerate(('qkv', 'qkv', 'qkv', 'out')):
    leaves += _leaves(_NIN, f'{name}/attention/{ours}', f'NIN_{i}')
  return _Layer('AttnBlock' if net.plain else 'AttnBlockpp', leaves)


def _resampling(
  net: Architecture, kind: str, name: str, *, convolved: bool,
  listed: bool = True
) -> _Layer:
  """A halving or doubling outside blocks."""
  leaves = (
    _leaves(_FILTERED, f'{name}/conv', 'Conv2d_0') if net.kernel
    else _leaves(_LINEAR, f'{name}/conv', 'Conv_0'))
  return _Layer(kind, leaves if convolved else (), listed)


def _conv(name: str) -> _Layer:
  return _Layer('Conv', _leaves(_LINEAR, name))


def _head(name: str) -> Iterator[_Layer]:
  yield _Layer('GroupNorm', _leaves(_NORM, f'{name}_norm/norm'))
  yield _conv(name)


def _layers(net: Architecture) -> Iterator[_Layer]:
  """Lists the layers in the official order."""
  if net.fourier:
    yield _Layer(
      'GaussianFourierProjection', _leaves(_FREQUENCIES, 'encoding'))
  if net.conditional:
    yield _Layer('Dense', _leaves(_LINEAR, 'time/hidden'))
    yield _Layer('Dense', _leaves(_LINEAR, 'time/out'))
  yield _conv('stem')
  for level in range(len(net.multipliers)):
    yield from _down(net, level)
  yield _block(net, 'mid_block_0')
  yield _attention(net, 'mid_attention')
  yield _block(net, 'mid_block_1')
  for level in reversed(range(len(net.multipliers))):
    yield from _up(net, level)
  if not net.output_skip:
    yield from _head('head')


def _down(net: Architecture, level: int) -> Iterator[_Layer]:
  attends = net.size // 2**level in net.attention
  for i in range(net.blocks):
    yield _block(net, f'down_{level}_block_{i}')
    if attends:
      yield _attention(net, f'down_{level}_attention_{i}')
  if level == len(net.multipliers) - 1:
    return
  resample, pyramid = f'down_{level}_resample', f'down_{level}_pyramid'
  if net.biggan:
    yield _block(net, resample)
  else:
    yield _resampling(net, 'Downsample', resample, convolved=net.convolved)
  if net.input_skip:
    yield _resampling(net, 'Downsample', '', convolved=False, listed=False)
    yield _Layer('Combine', _leaves(_LINEAR, pyramid, 'Conv_0'))
  if net.input_residual:
    yield _resampling(net, 'Downsample', pyramid, convolved=True)


def _up(net: Architecture, level: int) -> Iterator[_Layer]:
  lowest = level == len(net.multipliers) - 1
  for i in range(net.blocks + 1):
    yield _block(net, f'up_{level}_block_{i}')
  if net.size // 2**level in net.attention:
    yield _attention(net, f'up_{level}_attention_{net.blocks}')
  if net.output_skip:
    if not lowest:
      yield _resampling(net, 'Upsample', '', convolved=False, listed=False)
    yield from _head(f'head_{level}')
  if net.output_residual and lowest:
    yield from _head(f'up_{level}_pyramid')
  elif net.output_residual:
    yield _resampling(net, 'Upsample', f'up_{level}_pyramid', convolved=True)
  if level and net.biggan:
    yield _block(net, f'up_{level}_resample')
  elif level:
    yield _resampling(
      net, 'Upsample', f'up_{level}_resample', convolved=net.convolved)


def names(net: Architecture, *, flax: bool) -> Iterator[Leaf]:
  """Gives each weight that may be: our path and the official names.

  Several names are parts of one weight, side by side along its last axis. Which
  weights there are depends on shapes too: not every block has a shortcut.

  Args:
    net: the network.
    flax: the names are those of Flax, not of PyTorch.
  """
  counts: collections.Counter[str] = collections.Counter()
  found: dict[str, tuple[str, ...]] = {}
  for layer in _layers(net):
    torch_prefix = f'all_modules.{counts["listed"]}'
    prefix = f'{layer.kind}_{counts[layer.kind]}' if flax else torch_prefix
    for ours, torch_name, flax_name in layer.leaves:
      name = f'{prefix}.{flax_name if flax else torch_name}'
      found[ours] = (*found.get(ours, ()), name)
    counts[layer.kind] += 1
    counts['listed'] += layer.listed
  yield from found.items()
