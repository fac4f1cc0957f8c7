"""DINOv2 as its authors keep it, and as transformers does.

The arrays tell every size; heads have 64 channels, as in all released ones.
How images are resized moves a distance, so there are two conventions: dgm-eval
has Pillow resize bytes to bytes; EDM2 does the same sums in float and rounds
nothing. Both read 224 x 224 pixels.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
from typing import Final

import numpy as np

from difjax import errors
from difjax.interop import feature_files
from difjax.metrics import dinov2, features, resize
from difjax.typing import Params

EDM2 = resize.Convention(
  matrix=resize.antialiased_bicubic,
  zero=(255 * 0.485, 255 * 0.456, 255 * 0.406),
  unit=(255 * 0.229, 255 * 0.224, 255 * 0.225))
DGM_EVAL = dataclasses.replace(EDM2, rounded=True)
CONVENTIONS: Final = types.MappingProxyType({
  'dgm-eval': DGM_EVAL, 'edm2': EDM2,
})
WEIGHTS = feature_files.Published(
  file='dinov2_vitl14_pretrain.pth',
  address=(
    'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/'
    'dinov2_vitl14_pretrain.pth'))
SIDE = 224  # of the images that figures are published with
_HEAD = 64  # channels
# From transformers' names to the authors', in turn.
_RENAMED = (
  (r'^dinov2\.', ''), (r'^embeddings\.', ''), (r'^encoder\.layer\.', 'blocks.'),
  (r'^position_embeddings$', 'pos_embed'), (r'^layernorm\.', 'norm.'),
  (r'^patch_embeddings\.projection\.', 'patch_embed.proj.'),
  (r'\.attention\.output\.dense\.', '.attn.proj.'),
  (r'\.layer_scale(\d)\.lambda1$', r'.ls\1.gamma'),
  (r'\.mlp\.weights_in\.', '.mlp.w12.'),
  (r'\.mlp\.weights_out\.', '.mlp.w3.'),
)
_PARTS = ('query', 'key', 'value')


def load(
  path: str | os.PathLike[str] | None = None,
  convention: resize.Convention = DGM_EVAL,
) -> features.Extractor:
  """Loads the network behind FD-DINOv2; `pooled` is what it compares.

  Args:
    path: of the weights, any size of DINOv2 without registers; None for
      ViT-L/14's file in the folder of weights.
    convention: how images come to it.

  Raises:
    DataError: there is no such file.
    CheckpointError: it is damaged or holds another network.
  """
  found = feature_files.read(WEIGHTS, path)
  network, tree = params(found)
  return features.Extractor(
    network=network, params=tree, convention=convention, size=(SIDE, SIDE),
    sha256=found.sha256, published=False, family='dinov2')


def params(found: feature_files.Found) -> tuple[dinov2.Dinov2, Params]:
  """Returns the network that a file is of, and its parameters, float32.

  Raises:
    CheckpointError: an array is missing, unknown or of another shape.
  """
  taken = feature_files.Taken(_official(found))
  taken.skip('mask_token')  # of training
  patches = taken.take('patch_embed.proj.weight', (None, 3, None, None))
  width, _, patch, _ = patches.shape
  positions = taken.take('pos_embed', (1, None, width))[0]
  tree = {
    'class': taken.take('cls_token', (1, 1, width))[0, 0],
    'positions': positions,
    'patch_in': dict(
      kernel=patches.transpose(2, 3, 1, 0).reshape(-1, width),
      bias=taken.take('patch_embed.proj.bias', (width,))),
    'norm_out': taken.norm('norm', width)}
  depth, hidden, gated = 0, 0, False
  while f'blocks.{depth}.norm1.weight' in taken:
    gated = f'blocks.{depth}.mlp.w12.weight' in taken
    block = _block(taken, f'blocks.{depth}', width, gated)
    hidden = len(block['mlp_out']['kernel'])
    tree[f'block_{depth}'] = block
    depth += 1
  taken.finish()
  grid = round((len(positions) - 1) ** 0.5)
  if not depth or width % _HEAD or len(positions) != grid**2 + 1:
    raise errors.CheckpointError(
      f'{found.path} is no DINOv2: {depth} blocks of {width} channels and '
      f'{len(positions)} places')
  return dinov2.Dinov2(
    width=width, depth=depth, heads=width // _HEAD, hidden=hidden, gated=gated,
    patch=patch, grid=grid), tree


def _block(
  taken: feature_files.Taken, name: str, width: int, gated: bool
) -> Params:
  """Takes a block."""
  into, back = ('w12', 'w3') if gated else ('fc1', 'fc2')
  hidden = taken.linear(f'{name}.mlp.{into}', (None, width))
  inside = hidden['kernel'].shape[-1] // (1 + gated)
  return {
    'qkv': taken.linear(f'{name}.attn.qkv', (3 * width, width)),
    'out': taken.linear(f'{name}.attn.proj', (width, width)),
    'scale_0': taken.take(f'{name}.ls1.gamma', (width,)),
    'scale_1': taken.take(f'{name}.ls2.gamma', (width,)),
    'mlp_hidden': hidden,
    'mlp_out': taken.linear(f'{name}.mlp.{back}', (width, inside)),
    'norm_0': taken.norm(f'{name}.norm1', width),
    'norm_1': taken.norm(f'{name}.norm2', width)}


def _official(found: feature_files.Found) -> feature_files.Found:
  """Returns arrays by the authors' names, whichever the file has."""
  arrays = {}
  for name, array in found.arrays.items():
    for pattern, plain in _RENAMED:
      name = re.sub(pattern, plain, name)
    arrays[name] = array
  for first in [name for name in arrays if f'.attention.{_PARTS[0]}.' in name]:
    names = [first.replace(_PARTS[0], part) for part in _PARTS]
    missing = [name for name in names if name not in arrays]
    if missing:
      raise errors.CheckpointError(f'{found.path} lacks {missing[0]}')
    joined = re.sub(r'attention\.attention\.query', 'attn.qkv', first)
    arrays[joined] = np.concatenate([arrays.pop(name) for name in names])
  return dataclasses.replace(found, arrays=arrays)
