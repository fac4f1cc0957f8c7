"""From a checkpoint of another project to a network and a denoiser."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import types
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax import config as configs
from difjax import errors, pytree
from difjax.denoising import prediction
from difjax.interop import (
  adm,
  base,
  consistency_models,
  container,
  dit,
  edm,
  edm2,
  native,
  score_sde,
  score_sde_config,
  score_sde_refinenet,
  sit,
)
from difjax.objectives import base as objectives
from difjax.typing import Params

# Of each family the modules that files are offered to, in this order.
FAMILIES: Final = types.MappingProxyType({
  'score_sde': (score_sde, score_sde_refinenet),
  'consistency_models': (consistency_models,),
  'adm': (adm,),
  'dit': (dit,),
  'sit': (sit,),
  'edm': (edm,),
  'edm2': (edm2,),
  'difjax': (native,),
})
# From our objective to a family's own config.
OFFICIAL: Final = types.MappingProxyType({
  'score_sde': score_sde_config.official,
  'consistency_models': consistency_models.official,
  'adm': adm.official,
  'dit': dit.official,
  'sit': sit.official,
  'edm': edm.official,
  'edm2': edm2.official,
  'difjax': native.official,
})
_NAMED = 3  # parameters that an error spells out
_ODD = (
  ArithmeticError, AttributeError, LookupError, MemoryError, TypeError,
  ValueError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
  """A model of another project.

  Attributes:
    network: as its authors call it, but for axes: apply({'params': params}, x,
      noise, cond) takes images NHWC in their range and their time input, and
      returns the raw output.
    params: of the network, and of the objective's.
    denoiser: (x, t) -> Prediction: x in [-1, 1] and the process's own time;
      None for a classifier.
    objective: the training objective in our terms, with its process.
    info: plain facts: the family, which weights, the step, the image's shape.
  """

  network: nn.Module
  params: Params
  denoiser: prediction.Denoiser | None
  objective: objectives.Objective
  info: dict[str, Any]


def load(
  path: str | os.PathLike[str],
  family: str | None = None,
  config: Mapping[str, Any] | None = None,
  *,
  ema: bool = True,
) -> Imported:
  """Reads a checkpoint and builds its network.

  Args:
    path: of the file; see `container.read` for the kinds.
    family: a name of `FAMILIES`; guessed from the file when None.
    config: arguments of the official constructor that the file lacks.
    ema: the averaged weights, not the last ones.

  Raises:
    CheckpointError: the file cannot be read, is of no known family, or its
      parameters are not those of the network; nothing is dropped.
    ConfigError: the family does not exist or `config` does not fit.
  """
  found = convert(path, family, config, ema=ema)
  params = jax.tree.map(jnp.asarray, found.params)
  objective = configs.build(found.spec, path='objective')
  denoiser = getattr(objective, 'denoiser', None)
  return Imported(
    network=configs.build(found.network, path='network'),
    params=params,
    denoiser=denoiser(params) if denoiser else None,
    objective=objective,
    info=found.info,
  )


def convert(
  path: str | os.PathLike[str],
  family: str | None = None,
  config: Mapping[str, Any] | None = None,
  *,
  ema: bool = True,
  experiment: Mapping[str, Any] | None = None,
) -> base.Converted:
  """Reads a checkpoint into our terms; see `load` for the other arguments.

  Args:
    path: of the file.
    family: a name of `FAMILIES`, or None.
    config: arguments of the official constructor; they go first.
    ema: the averaged weights, not the last ones.
    experiment: a config of ours that stands for what `config` leaves out.

  Raises:
    CheckpointError, ConfigError: as `load` does.
  """
  if family is not None and family not in FAMILIES:
    raise errors.ConfigError(
      f'there is no family {family!r}; there are: {", ".join(FAMILIES)}'
    )
  tree = container.read(path)
  name, module = _reader(path, tree, family)
  try:
    if experiment:
      config = merged(_arguments(name, experiment), config or {})
    found = module.convert(tree, config, ema=ema)
  except errors.CheckpointError as error:
    raise errors.CheckpointError(f'{path}: {error}') from error
  except RecursionError:
    raise errors.CheckpointError(
      f'{path} is nested more deeply than any checkpoint'
    ) from None
  except _ODD as error:  # parts of other kinds than the family's code saves
    raise errors.CheckpointError(
      f'{path} cannot be read as {name}: {_reason(error)}'
    ) from error
  objective = configs.build(found.spec, path='objective')
  try:
    wanted = jax.eval_shape(objective.init, jax.random.key(0), _batch(found))
  except _ODD as error:  # sizes that no network has
    kind = errors.ConfigError if config else errors.CheckpointError
    raise kind(f'{path}: {name}: {_reason(error)}') from error
  check(path, wanted, found.params)
  return found


def _reason(error: Exception) -> str:
  """Says in a line what was wrong."""
  return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'


def merged(first: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
  """Returns nested mappings with those of `over` in their places."""
  both = {
    key: merged(first[key], over[key])
    for key in first.keys() & over.keys()
    if isinstance(first[key], Mapping) and isinstance(over[key], Mapping)
  }
  return {**first, **over, **both}


def check(
  path: str | os.PathLike[str], wanted: Params, params: Params
) -> None:
  """Compares the parameters of a file with those that a network has.

  Args:
    path: of the file.
    wanted: arrays or their shapes.
    params: what the file holds.

  Raises:
    CheckpointError: some are missing, surplus or of another shape.
  """
  here = {name: leaf.shape for name, leaf in pytree.named_leaves(wanted)}
  there = {name: leaf.shape for name, leaf in pytree.named_leaves(params)}
  off = {
    'lacks': sorted(here.keys() - there.keys()),
    'has beyond the network': sorted(there.keys() - here.keys()),
    'has in another shape': [
      f'{name} {there[name]} for {here[name]}'
      for name in sorted(here.keys() & there.keys())
      if here[name] != there[name]
    ],
  }
  faults = [f'{what} {_listed(names)}' for what, names in off.items() if names]
  if faults:
    raise errors.CheckpointError(f'{path} {"; ".join(faults)}')


def _batch(found: base.Converted) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of one image."""
  shape = 1, *found.info['image_shape']
  label = {'label': jax.ShapeDtypeStruct((1,), np.int32)}
  batch = {'image': jax.ShapeDtypeStruct(shape, np.float32)} | (
    label if found.info.get('num_classes') else {})
  if 'low_res_shape' in found.info:  # what an upsampler enlarges
    small = 1, *found.info['low_res_shape']
    batch['low_res'] = jax.ShapeDtypeStruct(small, np.float32)
  return batch


def _arguments(name: str, experiment: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what an experiment tells of a family's own config.

  Raises:
    ConfigError: the experiment is of no such model.
  """
  official = OFFICIAL[name](experiment['objective'])
  try:
    height, _, channels = configs.build(experiment['data']).shape
  except (KeyError, errors.DataError):  # without the data, the size is asked
    return official
  shape = {'image_size': height, 'num_channels': channels}
  return merged(official, {'data': shape})


def summary(tree: Any) -> str:
  """Says in a few words what a checkpoint holds."""
  if isinstance(tree, Mapping):
    keys = [f'{str(key)[:40]!r}' for key in tree]
    return f'a dict of {len(keys)}' + (f': {_listed(keys)}' if keys else '')
  if isinstance(tree, list | tuple):
    return f'a {type(tree).__name__} of {len(tree)}'
  return ' '.join(repr(tree).split())[:80]


def _reader(
  path: str | os.PathLike[str], tree: Any, family: str | None
) -> tuple[str, types.ModuleType]:
  """Returns the first family, and its module, that knows a checkpoint.

  Families that the file's name has in it are asked before the others: some
  share a layout.

  Raises:
    CheckpointError: none does.
  """
  called = pathlib.Path(path).stem.lower()
  names = sorted(FAMILIES, key=lambda name: name not in called)
  names = names if family is None else [family]
  for name in names:
    for module in FAMILIES[name]:
      if module.recognises(tree):
        return name, module
  raise errors.CheckpointError(
    f'{path} is no checkpoint of {" or ".join(names)}: it holds '
    f'{summary(tree)}'
  )


def _listed(names: list[str]) -> str:
  shown = ', '.join(names[:_NAMED])
  more = len(names) - _NAMED
  return f'{shown} and {more} more' if more > 0 else shown
