"""The weights in score SDE's checkpoints, whatever the network.

A `.pth` file holds the last weights by name (`model`) and their average as a
list without names (`ema.shadow_params`), in the order of the names, without
what is not trained; what `model` holds may be a file too. A Flax file
(`checkpoint_7`) holds both as nested dicts, `params_ema` and
`optimizer.target`; a classifier's is the dict alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from difjax import config as configs
from difjax import errors, pytree
from difjax.interop import base
from difjax.typing import Params

_TABLE = 'sigmas'  # PyTorch keeps the noise levels, descending, as a buffer
_PARALLEL = 'module.'
_ENTRY = _PARALLEL + _TABLE  # of what `model` holds

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """The weights of a file.

  Attributes:
    arrays: by official name, Flax's joined by dots.
    flax: the names are Flax's, not PyTorch's.
    kind: which of the weights these are.
    table: PyTorch's noise levels, the highest first; None without.
  """

  arrays: Mapping[str, np.ndarray]
  flax: bool
  kind: str
  table: np.ndarray | None = None

  @property
  def told(self) -> dict[str, Any]:
    """What the table of levels tells of the config."""
    if self.table is None:
      return {}
    return {
      'model.sigma_max': float(self.table[0]),
      'model.sigma_min': float(self.table[-1]),
      'model.num_scales': len(self.table)}


def alone(tree: Mapping[str, Any]) -> bool:
  """Says whether a file is what another has as `model`."""
  return _ENTRY in tree


def read(tree: Mapping[str, Any], ema: bool) -> Weights:
  """Takes the weights out of a checkpoint.

  Args:
    tree: what `container.read` gives.
    ema: averaged weights, not those of the last step; without effect where
      there is one kind, and the file does not tell which.

  Raises:
    CheckpointError: it does not have them.
  """
  if alone(tree):
    return dataclasses.replace(_torch({'model': tree}, False), kind='as saved')
  torch = isinstance(tree.get('model'), Mapping)
  return _torch(tree, ema) if torch else _flax(tree, ema)


def as_saved(
  arrays: Mapping[str, np.ndarray], table: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns the entry `model` of a `.pth` file.

  Args:
    arrays: by official name.
    table: PyTorch's noise levels, the highest first.
  """
  return {_PARALLEL + name: array for name, array in {
    _TABLE: table, **arrays}.items()}


def _torch(tree: Mapping[str, Any], ema: bool) -> Weights:
  model = _flat({
    name.removeprefix(_PARALLEL): array
    for name, array in tree['model'].items()})
  table = model.pop(_TABLE, None)
  if not ema:
    return Weights(arrays=model, flax=False, kind='raw', table=table)
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
  model |= dict(zip(trained, average, strict=True))
  return Weights(arrays=model, flax=False, kind='ema', table=table)


def _flax(tree: Mapping[str, Any], ema: bool) -> Weights:
  if not tree.keys() & {'params_ema', 'optimizer'}:
    found, kind = tree, 'raw'
  elif ema:
    found, kind = tree.get('params_ema'), 'ema'
  else:
    found, kind = (tree.get('optimizer') or {}).get('target'), 'raw'
  if not isinstance(found, Mapping):
    raise errors.CheckpointError(
      f'score SDE: the checkpoint has no {kind} weights; load the others with '
      f'ema={not ema}')
  arrays = _flat(found.get('params', found))
  return Weights(arrays=arrays, flax=True, kind=kind)


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


def shapes(network: base.Spec, image: tuple[int, ...]) -> Shapes:
  """Returns the shapes of our weights, by path.

  Args:
    network: its specification.
    image: (H, W, C).

  Raises:
    ConfigError: the network does not take such images.
  """
  module = configs.build(network, path='network')
  x = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  noise = jax.ShapeDtypeStruct((1,), jnp.float32)
  try:
    tree = jax.eval_shape(module.init, jax.random.key(0), x, noise)
  except ValueError as error:
    raise errors.ConfigError(f'score SDE: {error}') from error
  return {path: leaf.shape for path, leaf in pytree.named_leaves(
    tree['params'])}


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
  """Returns a shape without ones.

  Old norms are (1, 1, 1, C), and some dense layers 1 x 1 convolutions.
  """
  return tuple(size for size in shape if size != 1)


def nested(arrays: Mapping[str, np.ndarray], shapes: Shapes) -> Params:
  """Returns our weights by path as nested dicts of float32."""
  params: dict[str, Any] = {}
  for path, array in arrays.items():
    *parents, leaf = path.split('/')
    place = params
    for parent in parents:
      place = place.setdefault(parent, {})
    place[leaf] = np.asarray(array.reshape(shapes[path]), np.float32)
  return params
