"""EDM2's references: a pickle of statistics for more than one network.

  {'num_images': N, 'fid': {'mu', 'sigma'}, 'fd_dinov2': {'mu', 'sigma'}}

It is read as data, as every pickle here: what it names is not run. EDM's older
references are .npz of `fid` alone, which `metrics.read_reference` reads.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from difjax import errors
from difjax.interop import container
from difjax.metrics import reference

FID = 'fid'  # of Inception-v3
_COUNT = 'num_images'
_PICKLE = b'\x80'  # how one begins, of the protocols that Python 3 writes
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


def read_reference(
  path: str | os.PathLike[str], name: str = FID
) -> reference.Reference:
  """Reads a reference in any public layout, EDM2's pickles included.

  Args:
    path: of an .npz of `metrics.read_reference`, or of a pickle of EDM2.
    name: of the distance, where the file has statistics for several.

  Raises:
    DataError: as in `read` and `metrics.read_reference`, or the pickle has no
      statistics of that name.
  """
  place = pathlib.Path(path)
  try:
    with place.open('rb') as stream:
      pickled = stream.read(1) == _PICKLE
  except OSError:
    pickled = False  # said below, by who would read it
  if not pickled:
    return reference.read_reference(place)
  found = read(place)
  if name not in found:
    raise errors.DataError(
      f'{path} has statistics of {", ".join(sorted(found))}, none of {name}')
  return found[name]


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
