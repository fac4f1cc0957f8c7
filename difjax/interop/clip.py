"""CLIP as transformers keeps it: `model.safetensors` beside `config.json`.

A folder holds both towers, or the text tower alone, as Stable Diffusion's do:
then the names may lack `text_model.`. Arrays tell every size but the heads; the
settings give those, the activation and where a text ends.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import types
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from difjax import errors
from difjax.interop import feature_files
from difjax.metrics import clip, features, resize
from difjax.typing import Params

CONVENTION = resize.Convention(
  matrix=resize.antialiased_bicubic,
  zero=(255 * 0.48145466, 255 * 0.4578275, 255 * 0.40821073),
  unit=(255 * 0.26862954, 255 * 0.26130258, 255 * 0.27577711))
_WEIGHTS = feature_files.Published(
  file='model.safetensors',
  address=(
    'https://huggingface.co/openai/clip-vit-large-patch14 '
    '(model.safetensors and config.json)'))
_ACTIVATIONS: Final = types.MappingProxyType({
  'quick_gelu': clip.quick_gelu, 'gelu': clip.gelu})
_TEXT_HEADS, _IMAGE_HEADS = 8, 12  # where the settings do not say
_OLD_END = 2  # of official settings; stands for the highest token
_BLOCK = 'encoder.layers'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tower:
  """A network and its parameters."""

  network: clip.TextTower | clip.ImageTower
  params: Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """Both towers, as they are in a file.

  Attributes:
    text: the text tower.
    image: as a feature extractor; None where the file has none.
    scale: the factor of cosines that training found; 1 where there is none.
    sha256: of the file.
  """

  text: Tower
  image: features.Extractor | None
  scale: float
  sha256: str


def load(folder: str | os.PathLike[str] | None = None) -> Clip:
  """Loads CLIP, or its text tower.

  Args:
    folder: with `model.safetensors` and `config.json`; None for the folder
      of weights.

  Raises:
    DataError: a file is missing.
    CheckpointError: one is damaged or holds another network.
    ConfigError: the settings name an activation that is not known.
  """
  place = pathlib.Path(folder or feature_files.folder())
  found = feature_files.read(_WEIGHTS, place / _WEIGHTS.file)
  settings = _settings(place / 'config.json')
  taken = feature_files.Taken(found)
  taken.skip('.position_ids')
  of = lambda part: settings.get(part) or settings
  text = _text(taken, of('text_config'))
  image, scale = None, 1.0
  if 'vision_model.embeddings.class_embedding' in taken:
    image = _image(taken, of('vision_config'), found)
    scale = float(np.exp(taken.take('logit_scale', ())))
  taken.finish()
  return Clip(text=text, image=image, scale=scale, sha256=found.sha256)


def _settings(path: pathlib.Path) -> Mapping[str, Any]:
  """Reads `config.json`."""
  try:
    settings = json.loads(path.read_text())
  except OSError:
    raise errors.DataError(
      f'{path} is not there: it comes with the weights, put it beside them'
    ) from None
  except ValueError as error:
    raise errors.CheckpointError(f'{path} is no JSON: {error}') from None
  if not isinstance(settings, Mapping):
    raise errors.CheckpointError(f'{path} holds no settings by name')
  return settings


def _text(taken: feature_files.Taken, settings: Mapping[str, Any]) -> Tower:
  """Takes the text tower."""
  prefix = 'text_model.'
  if f'{prefix}embeddings.token_embedding.weight' not in taken:
    prefix = ''
  table = taken.take(
    f'{prefix}embeddings.token_embedding.weight', (None, None))
  width = table.shape[-1]
  places = taken.take(
    f'{prefix}embeddings.position_embedding.weight', (None, width))
  trunk, blocks = _trunk(taken, prefix, width, settings, _TEXT_HEADS)
  params = {
    'embedding': table, 'positions': places, 'trunk': blocks,
    'norm_out': taken.norm(f'{prefix}final_layer_norm', width)}
  projection = _projection(taken, 'text_projection.weight', params, width)
  end = settings.get('eos_token_id', _OLD_END)
  network = clip.TextTower(
    trunk=functools.partial(trunk, causal=True), width=width,
    tokens=len(table), length=len(places), projection=projection,
    end=None if end == _OLD_END else end)
  return Tower(network=network, params=params)


def _image(
  taken: feature_files.Taken, settings: Mapping[str, Any],
  found: feature_files.Found,
) -> features.Extractor:
  """Takes the image tower."""
  prefix = 'vision_model.'
  patches = taken.take(
    f'{prefix}embeddings.patch_embedding.weight', (None, 3, None, None))
  width, _, patch, _ = patches.shape
  places = taken.take(
    f'{prefix}embeddings.position_embedding.weight', (None, width))
  side = patch * round((len(places) - 1) ** 0.5)
  trunk, blocks = _trunk(taken, prefix, width, settings, _IMAGE_HEADS)
  params = {
    'class': taken.take(f'{prefix}embeddings.class_embedding', (width,)),
    'positions': places, 'trunk': blocks,
    'patch_in': dict(kernel=patches.transpose(2, 3, 1, 0).reshape(-1, width)),
    'norm_in': taken.norm(f'{prefix}pre_layrnorm', width),  # spelt so
    'norm_out': taken.norm(f'{prefix}post_layernorm', width)}
  projection = _projection(
    taken, 'visual_projection.weight', params, width)
  network = clip.ImageTower(
    trunk=trunk, width=width, patch=patch, projection=projection)
  return features.Extractor(
    network=network, params=params, convention=CONVENTION, size=(side, side),
    sha256=found.sha256, published=False, family='clip')


def _projection(
  taken: feature_files.Taken, name: str, params: dict[str, Any], width: int
) -> int:
  """Takes the map to the common space, if there is one; returns its width."""
  if name not in taken:
    return 0
  params['projection'] = dict(kernel=taken.take(name, (None, width)).T)
  return params['projection']['kernel'].shape[-1]


def _trunk(
  taken: feature_files.Taken, prefix: str, width: int,
  settings: Mapping[str, Any], heads: int,
) -> tuple[functools.partial[clip.Trunk], Params]:
  """Takes the blocks; returns what makes them, and their parameters."""
  blocks, hidden = {}, 0
  while f'{prefix}{_BLOCK}.{len(blocks)}.mlp.fc1.weight' in taken:
    i = len(blocks)
    blocks[f'block_{i}'] = _block(taken, f'{prefix}{_BLOCK}.{i}', width)
    hidden = blocks[f'block_{i}']['mlp_hidden']['kernel'].shape[-1]
  heads = settings.get('num_attention_heads', heads)
  if type(heads) is not int or heads < 1 or width % heads:
    raise errors.ConfigError(
      f'num_attention_heads is {heads!r}, which does not divide {width}')
  name = settings.get('hidden_act', 'quick_gelu')
  if name not in _ACTIVATIONS:
    raise errors.ConfigError(
      f'hidden_act is {name!r} in the settings; known are '
      f'{", ".join(_ACTIVATIONS)}')
  return functools.partial(
    clip.Trunk, len(blocks), heads, hidden, _ACTIVATIONS[name]), blocks


def _block(taken: feature_files.Taken, prefix: str, width: int) -> Params:
  """Takes a block."""
  square = (width, width)
  parts = [taken.linear(f'{prefix}.self_attn.{n}_proj', square)
           for n in 'qkv']
  hidden = taken.linear(f'{prefix}.mlp.fc1', (None, width))
  back = (width, hidden['kernel'].shape[-1])
  return {
    'qkv': {leaf: np.concatenate([part[leaf] for part in parts], -1)
            for leaf in ('kernel', 'bias')},
    'out': taken.linear(f'{prefix}.self_attn.out_proj', square),
    'mlp_hidden': hidden,
    'mlp_out': taken.linear(f'{prefix}.mlp.fc2', back),
    'norm_0': taken.norm(f'{prefix}.layer_norm1', width),
    'norm_1': taken.norm(f'{prefix}.layer_norm2', width)}
