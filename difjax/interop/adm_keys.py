"""ADM's U-Nets and classifiers: what their weights tell, and their names.

Way down and up are lists of places, `input_blocks.i` and `output_blocks.i`.
With B blocks a level, place 0 holds the stem, each B + 1 places after it those
of a level and what halves the size, and each B + 1 places on the way up those
of a level, the last of which doubles the size too. Children of a place are a
residual block, then attention, then the doubling.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from difjax import errors
from difjax.interop import adm_settings, inverse

Arrays = Mapping[str, np.ndarray]
Turn = Callable[[np.ndarray], np.ndarray]
Leaf = tuple[str, str, Turn]  # our path, the official name, from theirs to ours

_POINTWISE = re.compile(r'(qkv|proj_out|qkv_proj|c_proj)\.weight$')
_OUR_HEADS = (  # how classifiers answer, by our weights; the first is its size
  (None, ('head/bias',)),
  ('attention', ('head/attention/out/bias',)),
  ('spatial_v2', ('head/out/bias', 'head/hidden/bias', 'head/norm/norm/bias')),
  ('spatial', ('head/out/bias', 'head/hidden/bias')),
  ('adaptive', ('head/out/bias',)),
)  # fmt: skip
_PLACE = re.compile(r'(input|output)_blocks\.(\d+)\.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
  """What the weights tell of a network.

  Attributes:
    channels: of the input, the smaller image of an upsampler included.
    stem: channels of the first convolution.
    width: of the time code.
    multipliers: channels of each level over `width`.
    blocks: per level on the way down.
    attention: levels at which attention follows a block.
    outputs: channels of the output, or classes of a classifier.
    num_classes: labels of the input; 0 without.
    scale_shift: of the norms by the embedding.
    updown: residual blocks resample.
    convolved: what resamples outside blocks has a convolution.
    pool: how a classifier answers; None for a U-Net.
    places: positions that a pool by attention sees; 0 for others.
  """

  channels: int
  stem: int
  width: int
  multipliers: tuple[float, ...]
  blocks: int
  attention: tuple[int, ...]
  outputs: int
  num_classes: int
  scale_shift: bool
  updown: bool
  convolved: bool
  pool: str | None = None
  places: int = 0

  @property
  def levels(self) -> int:
    """How many sizes there are."""
    return len(self.multipliers)

  def level(self, i: int) -> int:
    """Returns the channels of a level."""
    return round(self.width * self.multipliers[i])


def recognises(names: set[str]) -> bool:
  """Says whether weights of these names are a network of this kind.

  Latent diffusion's have text in their attention besides.
  """
  needed = {'time_embed.0.weight', 'input_blocks.0.0.weight'}
  return needed <= names and not any('transformer' in name for name in names)


def architecture(
  arrays: Arrays, settings: adm_settings.Settings
) -> Architecture:
  """Reads a network off its weights.

  Raises:
    CheckpointError: a weight is not there that tells of it.
    ConfigError: the weights do not tell how many blocks a level has, and
      neither do the arguments.
  """
  shape = lambda name: _needed(arrays, name).shape
  stem = shape('input_blocks.0.0.weight')
  per_level = _blocks(arrays, settings) + 1
  down = _places(arrays, 'input')
  width = shape('time_embed.0.weight')[1]
  starts = range(1, down, per_level)
  halving = f'input_blocks.{per_level}.0.'
  updown = f'{halving}in_layers.2.weight' in arrays
  first = 'input_blocks.1.0.'
  pool = pool_of(arrays)
  last = {'attention': 'out.2.c_proj.weight', 'spatial': 'out.2.weight'}
  positions = 'out.2.positional_embedding'
  head = last.get(pool, 'out.3.weight') if pool else 'out.2.weight'
  return Architecture(
    channels=stem[1],
    stem=stem[0],
    width=width,
    multipliers=tuple(
      shape(f'input_blocks.{i}.0.in_layers.2.weight')[0] / width
      for i in starts),
    blocks=per_level - 1,
    attention=tuple(
      level for level, i in enumerate(starts)
      if f'input_blocks.{i}.1.qkv.weight' in arrays),
    outputs=shape(head)[0],
    num_classes=len(arrays.get('label_emb.weight', ())),
    scale_shift=(
      shape(f'{first}emb_layers.1.weight')[0]
      == 2 * shape(f'{first}in_layers.2.weight')[0]),
    updown=updown,
    convolved=f'{halving}op.weight' in arrays,
    pool=pool,
    places=shape(positions)[1] - 1 if positions in arrays else 0,
  )


def described(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
  """Reads a network off our own weights.

  Args:
    shapes: of them, by path.

  Raises:
    KeyError: the network is none of ADM's.
  """
  count = lambda name: sum(re.fullmatch(name, path) is not None
                           for path in shapes)
  levels = count(r'down_\d+_block_0/conv_0/bias')
  code, first = shapes['time/hidden/kernel'], 'down_0_block_0'
  tops = (f'down_{level}_block_0/conv_0/kernel' for level in range(levels))
  pool, head = next(
    found for found in _OUR_HEADS if set(found[1]) <= shapes.keys())
  return Architecture(
    channels=shapes['stem/kernel'][-2],
    stem=shapes['stem/kernel'][-1],
    width=code[0],
    multipliers=tuple(shapes[top][-1] / code[0] for top in tops),
    blocks=count(r'down_0_block_\d+/conv_0/bias'),
    attention=tuple(
      level for level in range(levels)
      if f'down_{level}_attention_0/attention/out/bias' in shapes),
    outputs=shapes[head[0]][-1],
    num_classes=shapes.get('label/table/embedding', (0,))[0],
    scale_shift=(
      shapes[f'{first}/emb/bias'][0]
      == 2 * shapes[f'{first}/conv_0/bias'][0]),
    updown='down_0_resample/conv_0/bias' in shapes,
    convolved='down_0_resample/conv/bias' in shapes,
    pool=pool,
    places=shapes.get('head/positions', (1,))[0] - 1,
  )


def official_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the shape of the official weight that one of ours turns into.

  Args:
    name: the official one.
    shape: of ours.
  """
  if name.endswith(('positional_embedding', 'label_emb.weight')):
    return shape[::-1] if name.startswith('out') else shape
  ones = len(shape) > 1 and _POINTWISE.search(name) is not None
  return inverse.output_first(shape) + (1,) * ones


def _needed(arrays: Arrays, name: str) -> np.ndarray:
  if name not in arrays:
    raise errors.CheckpointError(f'ADM: missing: {name}')
  return arrays[name]


def _places(arrays: Arrays, way: str) -> int:
  """Counts the places of a way, to the last that has weights."""
  found = (_PLACE.match(name) for name in arrays)
  return 1 + max((int(m[2]) for m in found if m and m[1] == way), default=-1)


def pool_of(arrays: Arrays) -> str | None:
  """Names the head of a classifier; None for a U-Net."""
  if _places(arrays, 'output'):
    return None
  if 'out.2.positional_embedding' in arrays:
    return 'attention'
  if 'out.3.weight' not in arrays:
    return 'spatial'
  return 'spatial_v2' if 'out.1.weight' in arrays else 'adaptive'


def _blocks(arrays: Arrays, settings: adm_settings.Settings) -> int:
  """Counts the blocks of a level by what stands at its end.

  That is a doubling on the way up, or a place on the way down which is no
  block, or has no attention behind one that has.
  """
  down, up = (_places(arrays, way) for way in ('input', 'output'))
  for i in range(up):
    doubled = f'output_blocks.{i}.(1|2).(conv|in_layers.2).weight'
    if any(re.fullmatch(doubled, name) for name in arrays):
      return i
  block = [f'input_blocks.{i}.0.in_layers.2.weight' in arrays
           for i in range(1, down)]
  if not all(block):
    return block.index(False)
  if up:
    return up - 1  # one level
  attention = ''.join(
    'x' if f'input_blocks.{i}.1.qkv.weight' in arrays else ' '
    for i in range(1, down)).split()
  if attention:
    return max(map(len, attention))
  return settings.count('num_res_blocks')


def leaves(
  net: Architecture, heads: Callable[[int, bool], int], *, legacy: bool
) -> Iterator[Leaf]:
  """Lists every weight: our path, the official name and what turns theirs.

  Args:
    net: the network.
    heads: attention heads by (channels, on the way up).
    legacy: the projection of attention is split into heads first.
  """

  def attention(ours: str, theirs: str, level: int, up: bool) -> Iterator[Leaf]:
    count = heads(net.level(level), up)
    yield from _norm(f'{ours}/norm', f'{theirs}.norm')
    yield from _dense(
      f'{ours}/attention/qkv', f'{theirs}.qkv', count if legacy else 1)
    yield from _dense(f'{ours}/attention/out', f'{theirs}.proj_out')

  yield from _dense('time/hidden', 'time_embed.0')
  yield from _dense('time/out', 'time_embed.2')
  if net.num_classes:
    yield 'label/table/embedding', 'label_emb.weight', np.asarray
  yield from _conv('stem', 'input_blocks.0.0')
  yield from _down(net, attention)
  last = net.levels - 1
  middle = net.level(last)
  yield from _block(net, 'mid_block_0', 'middle_block.0', middle, middle)
  yield from attention('mid_attention', 'middle_block.1', last, False)
  yield from _block(net, 'mid_block_1', 'middle_block.2', middle, middle)
  if net.pool is None:
    yield from _up(net, attention)
  yield from _HEADS[net.pool]()


Attention = Callable[[str, str, int, bool], Iterator[Leaf]]


def _down(net: Architecture, attention: Attention) -> Iterator[Leaf]:
  place, before = 0, net.stem
  for level in range(net.levels):
    for i in range(net.blocks):
      place += 1
      theirs, after = f'input_blocks.{place}', net.level(level)
      yield from _block(
        net, f'down_{level}_block_{i}', f'{theirs}.0', before, after)
      before = after
      if level in net.attention:
        yield from attention(
          f'down_{level}_attention_{i}', f'{theirs}.1', level, False)
    if level < net.levels - 1:
      place += 1
      yield from _resampling(
        net, f'down_{level}_resample', f'input_blocks.{place}.0', level, 'op')


def _up(net: Architecture, attention: Attention) -> Iterator[Leaf]:
  place = -1
  for level in reversed(range(net.levels)):
    for i in range(net.blocks + 1):
      place += 1
      theirs, after = f'output_blocks.{place}', net.level(level)
      # What joins on the way up only ever adds channels: a shortcut is there.
      yield from _block(
        net, f'up_{level}_block_{i}', f'{theirs}.0', 0, after)
      attends = level in net.attention
      if attends:
        yield from attention(
          f'up_{level}_attention_{i}', f'{theirs}.1', level, True)
      if level and i == net.blocks:
        yield from _resampling(
          net, f'up_{level}_resample', f'{theirs}.{1 + attends}', level, 'conv')


def _block(
  net: Architecture, ours: str, theirs: str, before: int, after: int
) -> Iterator[Leaf]:
  yield from _norm(f'{ours}/norm_0', f'{theirs}.in_layers.0')
  yield from _conv(f'{ours}/conv_0', f'{theirs}.in_layers.2')
  yield from _dense(f'{ours}/emb', f'{theirs}.emb_layers.1')
  yield from _norm(f'{ours}/norm_1', f'{theirs}.out_layers.0')
  yield from _conv(f'{ours}/conv_1', f'{theirs}.out_layers.3')
  if before != after:
    yield from _conv(f'{ours}/shortcut', f'{theirs}.skip_connection')


def _resampling(
  net: Architecture, ours: str, theirs: str, level: int, kind: str
) -> Iterator[Leaf]:
  """What halves or doubles: a block, a convolution or nothing."""
  channels = net.level(level)
  if net.updown:
    yield from _block(net, ours, theirs, channels, channels)
  elif net.convolved:
    yield from _conv(f'{ours}/conv', f'{theirs}.{kind}')


def _norm(ours: str, theirs: str) -> Iterator[Leaf]:
  yield f'{ours}/norm/scale', f'{theirs}.weight', np.asarray
  yield f'{ours}/norm/bias', f'{theirs}.bias', np.asarray


def _conv(ours: str, theirs: str) -> Iterator[Leaf]:
  """A convolution; PyTorch has its outputs first."""
  axes = (0, 1), (-1, -2)
  yield f'{ours}/kernel', f'{theirs}.weight', lambda a: np.moveaxis(a, *axes)
  yield f'{ours}/bias', f'{theirs}.bias', np.asarray


def _dense(ours: str, theirs: str, heads: int = 1) -> Iterator[Leaf]:
  """A dense layer, there perhaps a convolution with a kernel of one.

  With several heads the outputs are (head, query | key | value, d) there and
  (query | key | value, head, d) here.
  """

  def outputs(array: np.ndarray) -> np.ndarray:
    if heads == 1:
      return array
    split = array.reshape(heads, 3, -1, *array.shape[1:])
    return split.swapaxes(0, 1).reshape(array.shape)

  yield (
    f'{ours}/kernel', f'{theirs}.weight',
    lambda array: outputs(array.reshape(array.shape[:2])).T)
  yield f'{ours}/bias', f'{theirs}.bias', outputs


def _unet_head() -> Iterator[Leaf]:
  yield from _norm('head_norm', 'out.0')
  yield from _conv('head', 'out.2')


def _adaptive_head() -> Iterator[Leaf]:
  yield from _norm('head/norm', 'out.0')
  yield from _dense('head/out', 'out.3')


def _attention_head() -> Iterator[Leaf]:
  yield from _norm('head/norm', 'out.0')
  yield 'head/positions', 'out.2.positional_embedding', np.transpose
  yield from _dense('head/attention/qkv', 'out.2.qkv_proj')
  yield from _dense('head/attention/out', 'out.2.c_proj')


def _spatial_head() -> Iterator[Leaf]:
  yield from _dense('head/hidden', 'out.0')
  yield from _dense('head/out', 'out.2')


def _normed_head() -> Iterator[Leaf]:
  yield from _dense('head/hidden', 'out.0')
  yield from _norm('head/norm', 'out.1')
  yield from _dense('head/out', 'out.3')


_HEADS: Final = types.MappingProxyType({
  None: _unet_head,
  'adaptive': _adaptive_head,
  'attention': _attention_head,
  'spatial': _spatial_head,
  'spatial_v2': _normed_head,
})
