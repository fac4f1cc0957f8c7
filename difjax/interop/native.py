"""Parameters of difjax itself, as `difjax export --params` writes them.

A file holds arrays by path, `blocks/attention/qkv/kernel`. What they are the
parameters of, it does not say: that is the config of the experiment, for files
of strangers run nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from difjax import errors
from difjax.interop import base


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of this kind: arrays by path."""
  return (
    isinstance(tree, Mapping)
    and all(isinstance(array, np.ndarray) for array in tree.values())
    and any('/' in str(name) for name in tree)
  )


def convert(
  tree: Mapping[str, np.ndarray], config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns parameters into a model.

  Args:
    tree: what `container.read` gives.
    config: what `official` returns, with `data` of `image_size` and
      `num_channels`.
    ema: without effect: a file has one kind.

  Raises:
    ConfigError: the experiment is not told.
  """
  del ema
  config = config or {}
  objective, data = config.get('objective'), config.get('data', {})
  if objective is None or not {'image_size', 'num_channels'} <= data.keys():
    raise errors.ConfigError(
      'parameters by our names do not tell their model: give its config, '
      '--config=FILE.py, and where that has no data --arch.data.image_size=N '
      'and --arch.data.num_channels=N'
    )
  size = int(data['image_size'])
  params = {
    name: np.asarray(array, np.float32) for name, array in tree.items()}
  return base.Converted(
    spec=objective,
    params=traverse_util.unflatten_dict(params, sep='/'),
    network=objective['network'],
    info=dict(
      family='difjax', weights='as in the file', step=0,
      image_shape=(size, size, int(data['num_channels'])),
      num_classes=objective['network'].get('num_classes', 0),
    ),
  )


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns the objective, in a mapping."""
  return {'objective': objective}
