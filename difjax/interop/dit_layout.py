"""How the files of DiT and SiT are laid out: one transformer, two families.

A released file is the network's weights by name, already averaged. One of a
training run holds `model`, `ema`, `opt` and `args`, the run's flags as an
argparse.Namespace. Weights tell all of the network but its heads: those are a
given `num_heads`, or those of the published size of that width.

The positions `pos_embed` are the fixed table of `networks.position_table`; the
file's is compared with it. The patch convolution reads a patch as (channel,
row, column), we as (row, column, channel); all other layers are ours but for
their axes.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from flax import traverse_util

from difjax import errors
from difjax.interop import base, inverse
from difjax.networks import embeddings
from difjax.typing import Params

_SCALE = 0.18215  # of the autoencoder's latents
_ARGUMENTS = (  # of both networks, and of SiT's transport
  'class_dropout_prob', 'depth', 'hidden_size', 'in_channels', 'input_size',
  'learn_sigma', 'loss_weight', 'mlp_ratio', 'num_classes', 'num_heads',
  'patch_size', 'path_type', 'prediction', 'sample_eps', 'train_eps',
)  # fmt: skip
_HEADS: Final = types.MappingProxyType({384: 6, 768: 12, 1024: 16, 1152: 16})
_DENSE: Final = types.MappingProxyType({  # ours and theirs, outside of blocks
  'time/hidden': 't_embedder.mlp.0',
  'time/out': 't_embedder.mlp.2',
  'modulation': 'final_layer.adaLN_modulation.1',
  'patch_out': 'final_layer.linear',
})
_BLOCKS: Final = types.MappingProxyType({
  'attention/qkv': 'attn.qkv',
  'attention/out': 'attn.proj',
  'mlp_hidden': 'mlp.fc1',
  'mlp_out': 'mlp.fc2',
  'modulation': 'adaLN_modulation.1',
})
_PATCH, _POSITIONS = 'x_embedder.proj', 'pos_embed'
_LABELS = 'y_embedder.embedding_table.weight'
_DROPOUT = 0.1  # of labels, where the run does not say
_BLOCK = re.compile(r'blocks\.(\d+)\.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """What a file holds.

  Attributes:
    arrays: the weights by official name.
    kind: which of the weights these are.
    args: the official arguments: those given, then those of the run.
  """

  arrays: Mapping[str, np.ndarray]
  kind: str
  args: Mapping[str, Any]


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of this layout."""
  if not isinstance(tree, Mapping):
    return False
  arrays = tree.get('ema', tree)
  wanted = {f'{_PATCH}.weight', _LABELS, 'blocks.0.adaLN_modulation.1.weight'}
  return isinstance(arrays, Mapping) and wanted <= arrays.keys()


def model(tree: Mapping[str, Any]) -> str:
  """Returns the model that a training run names, such as 'SiT-B/2', or ''."""
  return str(_flags(tree).get('model', ''))


def read(tree: Mapping[str, Any], config: Any, *, ema: bool) -> Checkpoint:
  """Takes weights and arguments out of a checkpoint.

  Args:
    tree: what `container.read` gives.
    config: official arguments, within `{'config': ...}` or not; they go first.
    ema: the averaged weights; a released file has no others.

  Raises:
    CheckpointError: the file has not those weights.
    ConfigError: an argument is misspelt.
  """
  config = config or {}
  config = config.get('config', config)
  base.check_names('DiT and SiT', config, _ARGUMENTS)
  args = {**_flags(tree), **config}
  if 'ema' not in tree:
    return Checkpoint(arrays=_numbers(tree), kind='ema', args=args)
  kind = 'ema' if ema else 'model'
  if not isinstance(tree.get(kind), Mapping):
    raise errors.CheckpointError(f'it has no weights {kind!r}')
  return Checkpoint(arrays=_numbers(tree[kind]), kind=kind, args=args)


def network(found: Checkpoint) -> tuple[base.Spec, tuple[int, int, int]]:
  """Returns the network's specification and its images' shape (H, W, C).

  Channels of the output are all in `out_channels`.

  Raises:
    CheckpointError: weights are missing or contradict each other.
    ConfigError: the heads are not known, or arguments are not the file's.
  """
  width, channels, patch, _ = _shape(found, f'{_PATCH}.weight', 4)
  hidden, _ = _shape(found, 'blocks.0.mlp.fc1.weight', 2)
  rows, _ = _shape(found, _LABELS, 2)
  values, _ = _shape(found, 'final_layer.linear.weight', 2)
  tokens = _shape(found, _POSITIONS, 3)[1]
  blocks = {int(m[1]) for m in map(_BLOCK.match, found.arrays) if m}
  grid = math.isqrt(tokens)
  _check_positions(found, grid, width)
  side, learned = grid * patch, values == 2 * channels * patch**2
  null = label_dropout(found) > 0
  told = dict(
    input_size=side, patch_size=patch, in_channels=channels, hidden_size=width,
    depth=len(blocks), num_classes=rows - null, learn_sigma=learned)
  for name, value in told.items():
    if found.args.get(name, value) != value:
      raise errors.ConfigError(
        f'{name} is {found.args[name]!r} in the config, but the checkpoint '
        f'was made with {value!r}')
  ratio = found.args.get('mlp_ratio', hidden / width)
  if int(width * ratio) != hidden:
    raise errors.ConfigError(
      f'mlp_ratio is {ratio!r} in the config, but the checkpoint was made '
      f'with {hidden / width}')
  spec = dict(
    type='networks.DiT', patch=(patch, patch), width=width, depth=len(blocks),
    heads=_heads(found, width), mlp_ratio=hidden / width,
    out_channels=(1 + learned) * channels, num_classes=rows - null,
    null_label=null)
  return spec, (side, side, channels)


def facts(network: base.Spec, shape: tuple[int, ...]) -> dict[str, Any]:
  """Returns what is worth knowing of both families, for `Converted.info`.

  Args:
    network: its specification.
    shape: (H, W, C) of x: latents, unless it has the channels of images.
  """
  latents = shape[-1] not in base.COLOURS
  scale = dict(latent_scale=_SCALE) if latents else {}
  return dict(
    image_shape=shape, num_classes=network['num_classes'], latents=latents,
    **scale)


def label_dropout(found: Checkpoint) -> float:
  """Returns how often labels are hidden; at 0 there is no row for that."""
  rows = len(found.arrays[_LABELS])
  known = 0.0 if found.args.get('num_classes') == rows else _DROPOUT
  return float(found.args.get('class_dropout_prob', known))


def params(found: Checkpoint, depth: int) -> Params:
  """Returns our parameters.

  Raises:
    CheckpointError: weights are missing or surplus; some are named.
  """
  arrays = dict(found.arrays)
  del arrays[_POSITIONS]
  known = {name for _, theirs, _ in _leaves(depth) for name in theirs}
  faults = ('lacks', known - arrays.keys()), (
    'has beyond the network', arrays.keys() - known)
  for what, names in faults:
    if names:
      raise errors.CheckpointError(f'it {what} {", ".join(sorted(names)[:3])}')
  return traverse_util.unflatten_dict({
    ours: turn(*(arrays[name] for name in theirs))
    for ours, theirs, turn in _leaves(depth)}, sep='/')


def state_dict(
  params: Params, patch: tuple[int, int], shape: tuple[int, int, int]
) -> dict[str, np.ndarray]:
  """Returns the weights by official name: the way back of `params`.

  Args:
    params: ours.
    patch: its sides.
    shape: (H, W, C) of x.

  Raises:
    KeyError: the network is none of DiT's.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  width = len(flat['patch_in/bias'])
  found = {}
  for ours, theirs, turn in _leaves(len(flat['blocks/mlp_out/bias'])):
    array = np.asarray(flat[ours])
    sizes = array.shape[ours.startswith('blocks/'):]
    sizes = sizes[::-1] if ours.endswith('kernel') else sizes
    sizes = (width, shape[-1], *patch) if turn is _patches else sizes
    parts = inverse.undone(turn, array, [sizes] * len(theirs))
    found |= zip(theirs, parts, strict=True)
  grid = shape[0] // patch[0], shape[1] // patch[1]
  table = embeddings.position_table(grid, width)
  return found | {_POSITIONS: np.asarray(table, np.float32)[None]}


def _patches(kernel: np.ndarray) -> np.ndarray:
  """Turns the convolution of patches into a dense layer."""
  return kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))


def _leaves(
  depth: int
) -> Iterator[tuple[str, tuple[str, ...], Callable[..., np.ndarray]]]:
  """Lists all weights: our path, the official names, what turns theirs."""
  yield 'patch_in/kernel', (f'{_PATCH}.weight',), _patches
  yield 'patch_in/bias', (f'{_PATCH}.bias',), np.asarray
  yield 'label/table/embedding', (_LABELS,), np.asarray
  for ours, theirs in _DENSE.items():
    yield f'{ours}/kernel', (f'{theirs}.weight',), np.transpose
    yield f'{ours}/bias', (f'{theirs}.bias',), np.asarray
  for ours, theirs in _BLOCKS.items():
    kernels, biases = (
      tuple(f'blocks.{i}.{theirs}.{leaf}' for i in range(depth))
      for leaf in ('weight', 'bias'))
    yield f'blocks/{ours}/kernel', kernels, lambda *arrays: np.stack(
      [array.T for array in arrays])
    yield f'blocks/{ours}/bias', biases, lambda *arrays: np.stack(arrays)


def _flags(tree: Mapping[str, Any]) -> Mapping[str, Any]:
  """Returns the flags of a training run."""
  args = tree.get('args')
  args = getattr(args, 'state', args)  # a Namespace's names are its state
  return args if isinstance(args, Mapping) else {}


def _numbers(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns weights by name in float32.

  Raises:
    CheckpointError: something is no array of numbers.
  """
  odd = [name for name, value in tree.items()
         if not isinstance(value, np.ndarray) or value.dtype.hasobject]
  if odd:
    raise errors.CheckpointError(f'{odd[0]} is no array')
  return {name: np.asarray(a, np.float32) for name, a in tree.items()}


def _shape(found: Checkpoint, name: str, rank: int) -> tuple[int, ...]:
  """Returns the shape of a weight.

  Raises:
    CheckpointError: it is missing or of another rank.
  """
  if name not in found.arrays or found.arrays[name].ndim != rank:
    raise errors.CheckpointError(f'it lacks {name} of rank {rank}')
  return found.arrays[name].shape


def _check_positions(found: Checkpoint, grid: int, width: int) -> None:
  """Refuses positions that are not the fixed table of a square.

  Raises:
    CheckpointError: they are not.
  """
  positions = found.arrays[_POSITIONS][0]
  table = embeddings.position_table((grid, grid), width)
  if table.shape != positions.shape or abs(table - positions).max() > 1e-5:
    raise errors.CheckpointError(
      f'its {_POSITIONS} {positions.shape} is not the fixed table of a square '
      'grid, so its positions were trained: not known')


def _heads(found: Checkpoint, width: int) -> int:
  """Returns the number of heads, which no weight tells.

  Raises:
    ConfigError: nothing tells it, or it does not divide the width.
  """
  heads = found.args.get('num_heads', _HEADS.get(width))
  if not heads:
    raise errors.ConfigError(
      f'num_heads is not in the checkpoint, and width {width} is of no '
      'published size: give the official config, or --arch.num_heads=VALUE')
  if type(heads) is not int or heads < 1 or width % heads:
    raise errors.ConfigError(
      f'num_heads is {heads!r}, which does not divide the width {width}')
  return heads
