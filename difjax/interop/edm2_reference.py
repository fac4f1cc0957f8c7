"""EDM2's references: a pickle of statistics for more than one network.

  {'num_images': N, 'fid': {'mu', 'sigma'}, 'fd_dinov2': {'mu', 'sigma'}}

It is read as data, as every pickle here: what it names is not run. EDM's older
references are .npz of `fid` alone, which `metrics.read_reference` reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from difjax import errors
from difjax.interop import container
from difjax.metrics import reference

SUFFIX = '.pkl'
_COUNT = 'num_images'
_PARTS = ('mu', 'sigma')


def read(path: str | os.PathLike[str]) -> dict[str, reference.Reference]:
  """Reads the statistics of every network that a pickle of EDM2 has.

  Returns:
    By what the distance is called there: 'fid', 'fd_dinov2'.

  Raises:
    DataError: it is missing, damaged or malicious, or holds no such statistics.
  """
  try:
    tree = container.read(path)
  except errors.CheckpointError as error:
    raise errors.DataError(str(error)) from None
  if not isinstance(tree, Mapping):
    raise errors.DataError(
      f'{path} holds no statistics by name, as a reference of EDM2 does')
  found = {name: part for name, part in tree.items()
           if isinstance(part, Mapping)}
  if not found:
    names = ', '.join(sorted(map(str, tree))) or 'nothing'
    raise errors.DataError(
      f'{path} holds {names}, where fid or fd_dinov2 are wanted')
  return {str(name): _parsed(path, str(name), part, tree.get(_COUNT))
          for name, part in found.items()}


def _parsed(
  path: str | os.PathLike[str], name: str, part: Mapping[str, Any], count: Any
) -> reference.Reference:
  """Returns the statistics of one network, once they are such."""
  arrays = {key: np.asarray(part[key]) for key in _PARTS if key in part}
  if count is not None:
    arrays['count'] = np.asarray(count)
  try:
    return reference.parse(arrays)
  except errors.DataError as error:
    raise errors.DataError(f'{path}: {name}: {error}') from None
