"""Trained models by the names and axes of other codes.

What a family's importer does to a checkpoint is undone, and what comes out is
imported again: it is written only if that model predicts what ours does.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from difjax import config as configs
from difjax import errors
from difjax.evaluation import trained
from difjax.interop import (
  adm,
  base,
  dit,
  edm,
  edm_official,
  imported,
  score_sde,
  score_sde_config,
  sit,
)
from difjax.objectives import base as objectives
from difjax.typing import Array, Params, Shape

State = dict[str, np.ndarray]
Found = tuple[State, dict[str, Any]]  # weights, official arguments
_CLOSE = 1e-4  # of two predictions, over the largest
_ODD = (  # what looking for the parts of another network raises
  ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
  flax.errors.FlaxError,
)  # fmt: skip


def state_dict(family: str, model: trained.Trained) -> Found:
  """Returns a model's weights by official name, and the official arguments.

  Args:
    family: such as 'edm'.
    model: ours.

  Raises:
    ConfigError: there is no such family, or it has no such model.
  """
  if family not in _FAMILIES:
    raise errors.ConfigError(
      f'there is no way back to {family!r}; there is to '
      f'{", ".join(sorted(_FAMILIES))}'
    )
  candidates, convert = _FAMILIES[family]
  reason = 'by its own settings it predicts something else'
  try:
    for arrays, config in candidates(
      model.params, model.config['objective'], model.shape
    ):
      found = convert(arrays, config)
      if _agree(model, found):
        return arrays, config
  except (errors.CheckpointError, errors.ConfigError) as error:
    reason = str(error)
  except _ODD:
    reason = 'its network is another'
  raise errors.ConfigError(f'{family} has no such model: {reason}')


def _agree(model: trained.Trained, found: base.Converted) -> bool:
  """Says whether an imported model predicts what ours does in float32."""
  objective = dataclasses.replace(
    model.objective, network=model.objective.network.clone(dtype=None))
  process = objective.process
  x = process.prior(jax.random.key(0), (1, *model.shape))
  cond = {'low_res': jax.random.normal(jax.random.key(1), x.shape)}
  t = jnp.float32(process.t_min + (process.t_max - process.t_min) / 2)
  if model.num_classes:
    cond['label'] = jnp.zeros(1, jnp.int32)
  theirs = configs.build(found.spec, path='objective')
  imported.check('the exported model', model.params, found.params)
  ours, other = (
    np.asarray(_predict(each, params, x, t, cond))
    for each, params in (
      (objective, model.params), (theirs, found.params))
  )  # fmt: skip
  room = _CLOSE * abs(ours).max()
  return bool(np.isfinite(ours).all() and abs(ours - other).max() <= room)


def _predict(
  objective: objectives.Objective, params: Params, x: Array, t: Array,
  cond: dict[str, Array],
) -> Array:  # fmt: skip
  """Returns x_0, or what a classifier says."""
  if hasattr(objective, 'denoiser'):
    return objective.denoiser(params, cond)(x, t).x0
  return objective.log_prob(params)(x, t)


def _adm(
  params: Params, objective: base.Spec, shape: Shape
) -> Iterator[Found]:
  yield adm.state_dict(params, objective, shape)


def _dit(
  params: Params, objective: base.Spec, shape: Shape
) -> Iterator[Found]:
  yield dit.state_dict(params, objective, shape)


def _sit(
  params: Params, objective: base.Spec, shape: Shape
) -> Iterator[Found]:
  arrays, config = dit.state_dict(params, objective, shape)
  yield arrays, config | sit.official(objective)


def _edm(
  params: Params, objective: base.Spec, shape: Shape
) -> Iterator[Found]:
  """Yields the weights under every preconditioning."""
  for config in edm_official.arguments(params, objective, shape):
    yield edm.state_dict(params, config), config


def _score_sde(
  params: Params, objective: base.Spec, shape: Shape
) -> Iterator[Found]:
  size = {'image_size': shape[0], 'num_channels': shape[-1]}
  config = imported.merged(
    {'data': size, 'model': score_sde.TABLE},
    score_sde_config.official(objective),
  )
  yield score_sde.state_dict(params, config), config


Candidates = Callable[[Params, base.Spec, Shape], Iterator[Found]]
_FAMILIES: Final = types.MappingProxyType({
  'adm': (_adm, adm.convert),
  'dit': (_dit, dit.convert),
  'edm': (_edm, edm.convert),
  'score_sde': (_score_sde, score_sde.convert),
  'sit': (_sit, sit.convert),
})
