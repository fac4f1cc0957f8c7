"""The names of the weights in EDM's networks, and their layout.

| official                | ours                                          |
|-------------------------|-----------------------------------------------|
| map_noise, map_layer    | encoding, time                                |
| map_label, map_augment  | within; ADM's labels are a table after (1) of `unet` |
| enc.RxR_conv, _down     | stem, down_L_resample                         |
| enc.RxR_aux             | down_L_pyramid                                |
| dec.RxR_in0, _in1       | mid_block_0 and mid_attention, mid_block_1    |
| dec.RxR_up, _aux        | up_L_resample, head                           |
| _blockI                 | block_I and attention_I                       |

A block there ends with its attention. The output features of its projection
are ordered (head, d, query | key | value), ours (query | key | value, head, d).
"""  # noqa: E501, a table

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from difjax.interop import edm_arguments, inverse

_HEAD_WIDTH = 64  # of ADM; elsewhere there is one head
_WEIGHTS = (  # our name of a `weight`, by how our path ends; else the last
  ('norm', 'scale'), ('label/table', 'embedding'), ('', 'kernel'),
)  # fmt: skip
_BLOCK = (
  ('norm_0/norm', 'norm0'), ('conv_0', 'conv0'), ('emb', 'affine'),
  ('norm_1/norm', 'norm1'), ('conv_1', 'conv1'), ('shortcut', 'skip'),
)  # fmt: skip
_ATTENTION = (
  ('norm/norm', 'norm2'), ('attention/qkv', 'qkv'), ('attention/out', 'proj'),
)  # fmt: skip
CONSTANTS = ('resample_filter', 'u')  # buffers that the arguments tell

Pair = tuple[str, str]


def paths(net: edm_arguments.Architecture) -> dict[str, str]:
  """Gives our path of each official name that a weight may have.

  Which weights there are depends on shapes too: not every block has a shortcut
  or attention.
  """
  found = {}
  for ours, theirs in _modules(net):
    weight = next(leaf for end, leaf in _WEIGHTS if ours.endswith(end))
    found[f'{theirs}.weight'] = f'{ours}/{weight}'
    found[f'{theirs}.bias'] = f'{ours}/bias'
  return found | {'map_noise.freqs': 'encoding/W'}


def _modules(net: edm_arguments.Architecture) -> Iterator[Pair]:
  yield 'time/hidden', 'map_layer0'
  yield 'time/out', 'map_layer1'
  yield 'label/table' if net.adm else 'within/label', 'map_label'
  yield 'within/augment', 'map_augment'
  for level, side in enumerate(net.sides):
    yield from _down(net, level, f'enc.{side}x{side}')
  lowest = f'dec.{net.sides[-1]}x{net.sides[-1]}'
  yield from _block('mid_block_0', f'{lowest}_in0')
  yield from _attention('mid_attention', f'{lowest}_in0')
  yield from _block('mid_block_1', f'{lowest}_in1')
  for level, side in enumerate(net.sides):
    yield from _up(net, level, f'dec.{side}x{side}')
  if net.adm:
    yield 'head_norm/norm', 'out_norm'
    yield 'head', 'out_conv'


def _down(
  net: edm_arguments.Architecture, level: int, theirs: str
) -> Iterator[Pair]:
  """The way down on a level, and to it."""
  if level:
    above = f'down_{level - 1}'
    yield from _block(f'{above}_resample', f'{theirs}_down')
    yield f'{above}_pyramid', f'{theirs}_aux_skip'
    yield f'{above}_pyramid/conv', f'{theirs}_aux_residual'
  else:
    yield 'stem', f'{theirs}_conv'
  for i in range(net.blocks):
    yield from _block(f'down_{level}_block_{i}', f'{theirs}_block{i}')
    yield from _attention(f'down_{level}_attention_{i}', f'{theirs}_block{i}')


def _up(
  net: edm_arguments.Architecture, level: int, theirs: str
) -> Iterator[Pair]:
  """The way up to a level, and on it."""
  yield from _block(f'up_{level + 1}_resample', f'{theirs}_up')
  for i in range(net.blocks + 1):
    yield from _block(f'up_{level}_block_{i}', f'{theirs}_block{i}')
    yield from _attention(f'up_{level}_attention_{i}', f'{theirs}_block{i}')
  if net.output_skip or not level:
    head = f'head_{level}' if net.output_skip else 'head'
    yield f'{head}_norm/norm', f'{theirs}_aux_norm'
    yield head, f'{theirs}_aux_conv'


def _block(ours: str, theirs: str) -> Iterator[Pair]:
  return ((f'{ours}/{a}', f'{theirs}.{b}') for a, b in _BLOCK)


def _attention(ours: str, theirs: str) -> Iterator[Pair]:
  return ((f'{ours}/{a}', f'{theirs}.{b}') for a, b in _ATTENTION)


def constants(
  net: edm_arguments.Architecture
) -> dict[str, np.ndarray]:
  """Returns the filters by name, which the layers that resample keep."""
  taps = np.asarray(net.kernel, np.float32)
  kernel = np.outer(taps, taps)[None, None] / np.square(taps.sum())
  names = []
  for level, side in enumerate(net.sides):
    here = [f'enc.{side}x{side}_', f'dec.{side}x{side}_']
    ways = zip(here, (level > 0, level + 1 < len(net.sides)),
               ('down', 'up'), strict=True)
    for place, resamples, way in ways:
      if resamples:
        names += [f'{place}{way}.conv0', f'{place}{way}.skip']
    if level and net.input_skip:
      names.append(f'{here[0]}aux_down')
    if level and net.input_residual:
      names.append(f'{here[0]}aux_residual')
    if level + 1 < len(net.sides) and net.output_skip:
      names.append(f'{here[1]}aux_up')
  return {f'{name}.{CONSTANTS[0]}': kernel for name in names}


def unused(arrays: Mapping[str, np.ndarray]) -> set[str]:
  """Returns the names of what is no weight: constants of the layers."""
  return {
    name for name in arrays if name.rpartition('.')[2] in CONSTANTS}


def turned(
  net: edm_arguments.Architecture, path: str, array: np.ndarray
) -> np.ndarray:
  """Puts the axes of an official weight as we have them.

  Args:
    net: the network.
    path: ours.
    array: output first, as PyTorch has it.

  Raises:
    ValueError: it has not the shape of such a weight.
  """
  if '/attention/qkv/' in path:
    array = _qkv(array, net.adm)
  if '/attention/' in path:  # there a convolution of one pixel
    array = array.reshape(array.shape[:2])
  if array.ndim > 1:
    array = np.moveaxis(array, (0, 1), (-1, -2))
  return array


def official_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the shape of the official weight that one of ours is from."""
  ones = (1, 1) if '/attention/' in path and len(shape) > 1 else ()
  return inverse.output_first(shape) + ones


def _qkv(array: np.ndarray, adm: bool) -> np.ndarray:
  """Orders the output features of a projection as we do."""
  channels = len(array) // 3
  heads = (channels // _HEAD_WIDTH or 1) if adm else 1
  rest = array.shape[1:]
  split = array.reshape(heads, channels // heads, 3, *rest)
  return np.moveaxis(split, 2, 0).reshape(3 * channels, *rest)
