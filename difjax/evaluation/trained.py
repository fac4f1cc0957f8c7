"""A trained model, read from its work directory.

The saved config is data from a stranger: only names that difjax exports, a few
of optax and flax, and those of packages that the caller trusts are resolved.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from difjax import config as configs
from difjax import errors
from difjax.objectives import base
from difjax.training import checkpoint
from difjax.typing import Params, PyTree, Shape

CONFIG = 'config.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """What sampling and judging need of a run.

  Attributes:
    objective: what was trained.
    params: the average of its parameters that was asked for.
    shape: (H, W, C) of an image.
    num_classes: 0 for a model without labels.
    class_names: in label order; may be empty.
    step: steps done.
    config: the saved config.
  """

  objective: base.Objective
  params: Params
  shape: Shape
  num_classes: int
  class_names: tuple[str, ...]
  step: int
  config: dict[str, Any]


def load(
  workdir: pathlib.Path,
  *,
  ema: str = 'main',
  trust: tuple[str, ...] = (),
  needs: str | None = None,
  step: int | None = None,
) -> Trained:
  """Reads a run's config and the newest checkpoint that verifies.

  Args:
    workdir: of the run.
    ema: which average of the parameters; '' for the raw ones.
    trust: packages whose names the saved config may use.
    needs: a method that the objective must have, such as `denoiser`, to make
      images with.
    step: of the checkpoint; None for the newest that verifies.

  Raises:
    ConfigError: there is no run, no such average, or no such method; or what
      is modelled are latents, of which no images are made, or images from
      smaller ones.
    CheckpointError: there is no checkpoint that can be read.
  """
  config = _complete(workdir / CONFIG, 'objective')
  card = _complete(
    workdir / 'data.json', 'shape', 'num_classes', 'class_names'
  )
  if ema and ema not in config.get('ema', {}):
    known = ', '.join(sorted(config.get('ema', {}))) or 'none'
    raise errors.ConfigError(f'{workdir} keeps no average {ema!r}, but {known}')
  objective = configs.build(
    config['objective'], path='config.objective', trusted=False, trust=trust
  )
  shape = tuple(card['shape'])
  if needs:
    require(objective, needs, str(workdir))
    _check_images(workdir, card, objective)
  abstract = _abstract(objective, shape, card['num_classes'])
  saver = _reader(workdir, config)
  try:
    params, meta = saver.restore_ema(ema, abstract, step)
  finally:
    saver.close()
  return Trained(
    objective=objective,
    params=params,
    shape=shape,
    num_classes=card['num_classes'],
    class_names=tuple(card['class_names']),
    step=meta['step'],
    config=config,
  )


def steps(workdir: pathlib.Path) -> list[int]:
  """Lists the steps of a run's checkpoints, oldest first.

  Raises:
    ConfigError: there is no run.
    CheckpointError: it has no checkpoint.
  """
  config = _complete(workdir / CONFIG, 'objective')
  saver = _reader(workdir, config)
  try:
    found = saver.steps()
  finally:
    saver.close()
  if not found:
    raise errors.CheckpointError(f'{workdir} holds no checkpoint: train first')
  return found


def _reader(
  workdir: pathlib.Path, config: dict[str, Any]
) -> checkpoint.Checkpointer:
  """Opens the checkpoints of a run that may be at work."""
  place = config.get('checkpoints', {}).get('directory')
  return checkpoint.Checkpointer(
    workdir, checkpoint.Checkpoints(directory=place), reading=True
  )


def _abstract(
  objective: base.Objective, shape: Shape, num_classes: int
) -> PyTree:
  """The shapes of an objective's parameters, on this process's first device."""
  probe = {'image': np.zeros((1, *shape), np.float32)}
  if num_classes:
    probe['label'] = np.zeros(1, np.int32)
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
    jax.eval_shape(lambda: objective.init(jax.random.key(0), probe)),
  )


def require(objective: base.Objective, method: str, owner: str) -> None:
  """Refuses an objective without a method.

  Args:
    objective: what was trained.
    method: such as `denoiser`, which all that can be sampled from have.
    owner: where the objective stands, for the error.

  Raises:
    ConfigError: the objective has no such method.
  """
  if not hasattr(objective, method):
    raise errors.ConfigError(
      f'{owner} is a {type(objective).__name__} and has no {method}: give a '
      'run of an objective that has one'
    )


def _check_images(
  workdir: pathlib.Path, card: dict[str, Any], objective: base.Objective
) -> None:
  """Refuses what no images come of without more than noise and labels.

  Raises:
    ConfigError: the run models latents, or enlarges images.
  """
  if getattr(objective, 'low_res', None) is not None:
    raise errors.ConfigError(
      f'{workdir} enlarges images, and only Python can give it any: use '
      "evaluation.load and the denoiser with cond['low_res']"
    )
  if card.get('latents'):
    raise errors.ConfigError(
      f'{workdir} models latents of {card["shape"][-1]} channels, which '
      'nothing here decodes to images: use difjax.interop.load and the '
      'solvers of difjax.sampling on arrays'
    )


def _complete(file: pathlib.Path, *keys: str) -> dict[str, Any]:
  """Reads a JSON file that must have some keys."""
  data = configs.load(file)
  for key in keys:
    if key not in data:
      raise errors.ConfigError(f'{file} has no {key!r}: is it of another kind?')
  return data
