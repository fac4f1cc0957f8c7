"""Files of feature networks: where they are, which they are, what they hold.

A published figure belongs to one file of weights. So a file is known by the
sha256 of its bytes, and a figure made with another is not called by that name.
Nothing is fetched: a file that is not there is asked for in one line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from difjax import errors
from difjax.interop import container
from difjax.typing import Shape

FOLDER = 'DIFJAX_WEIGHTS'  # variable of the environment that names the folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """A published file of weights.

  Attributes:
    file: its name.
    address: where its authors, or those who ported it, keep it.
    sha256: of its bytes; '' where none is stated.
  """

  file: str
  address: str
  sha256: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A file of weights as it was read.

  Attributes:
    path: of the file.
    sha256: of its bytes.
    arrays: by official name.
  """

  path: pathlib.Path
  sha256: str
  arrays: Mapping[str, np.ndarray]


def folder() -> pathlib.Path:
  """Returns where weights are looked for when no path is given."""
  standard = pathlib.Path.home() / '.cache' / 'difjax' / 'weights'
  return pathlib.Path(os.environ.get(FOLDER) or standard)


def read(
  published: Published, path: str | os.PathLike[str] | None = None
) -> Found:
  """Reads a file of weights.

  Args:
    published: the file in question.
    path: of it or of another of its layout, in any container that
      `container.read` knows; None for the file in `folder()`.

  Raises:
    DataError: the file is missing; the line says where to get it and where to
      put it.
    CheckpointError: it is damaged, or holds something else than arrays; or it
      was found by its name and is another file.
  """
  place = pathlib.Path(path) if path else folder() / published.file
  if not place.is_file():
    raise errors.DataError(
      f'{place} is not there: fetch {published.address} and put it there, or '
      f'name the folder that has it in {FOLDER}')
  with place.open('rb') as stream:
    digest = hashlib.file_digest(stream, 'sha256').hexdigest()
  if not path and published.sha256 and digest != published.sha256:
    raise errors.CheckpointError(
      f'{place} is not the published file: its sha256 is {digest}, not '
      f'{published.sha256}; fetch {published.address} again')
  tree = container.read(place)
  if isinstance(tree, Mapping) and isinstance(tree.get('state_dict'), Mapping):
    tree = tree['state_dict']
  if not isinstance(tree, Mapping) or not all(
    isinstance(a, np.ndarray) and not a.dtype.hasobject for a in tree.values()
  ):
    raise errors.CheckpointError(f'{place} holds no arrays by name')
  return Found(path=place, sha256=digest, arrays=tree)


class Taken:
  """The arrays of a file, of which every one has to be used."""

  def __init__(self, found: Found, prefix: str = '') -> None:
    """Starts with the names below `prefix`, which is cut off."""
    self._path = found.path
    self._left = {
      name.removeprefix(prefix): array for name, array in found.arrays.items()}

  def __contains__(self, name: str) -> bool:
    return name in self._left

  def skip(self, ending: str) -> None:
    """Leaves out what ends so: counters and tables that no output reads."""
    for name in [name for name in self._left if name.endswith(ending)]:
      del self._left[name]

  def take(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Takes an array in float32.

    Args:
      name: official.
      shape: that it has to have; None for any size.

    Raises:
      CheckpointError: it is missing, taken already or of another shape.
    """
    if name not in self._left:
      raise errors.CheckpointError(f'{self._path} lacks {name}')
    array = np.asarray(self._left.pop(name), np.float32)
    wanted = tuple(shape)
    if array.ndim != len(wanted) or any(
      size not in (None, n) for size, n in zip(wanted, array.shape, strict=True)
    ):
      raise errors.CheckpointError(
        f'{self._path}: {name} is {array.shape}, not '
        f'{str(wanted).replace("None", "any")}')
    return array

  def normed(
    self, conv: str, norm: str, shape: Shape, epsilon: float
  ) -> dict[str, np.ndarray]:
    """Takes a convolution without bias and the batch norm behind it as one.

    Args:
      conv: name of the convolution.
      norm: name of the norm, whose statistics are fixed.
      shape: (h, w, inputs, outputs), ours.
      epsilon: of the norm.

    Returns:
      Its kernel of that shape and its bias, made in float64.

    Raises:
      CheckpointError: as in `take`.
    """
    height, width, inputs, outputs = shape
    kernel = self.take(f'{conv}.weight', (outputs, inputs, height, width))
    scale, shift, mean, variance = (
      self.take(f'{norm}.{part}', (outputs,)).astype(np.float64)
      for part in ('weight', 'bias', 'running_mean', 'running_var'))
    scale = scale / np.sqrt(variance + epsilon)
    return dict(
      kernel=(kernel.transpose(2, 3, 1, 0) * scale).astype(np.float32),
      bias=(shift - mean * scale).astype(np.float32))

  def linear(
    self, name: str, shape: tuple[int | None, int]
  ) -> dict[str, np.ndarray]:
    """Takes a dense layer of shape (outputs, inputs); errors as in `take`."""
    kernel = self.take(f'{name}.weight', shape).T
    return dict(kernel=kernel, bias=self.take(f'{name}.bias', kernel.shape[1:]))

  def norm(self, name: str, width: int) -> dict[str, np.ndarray]:
    """Takes the scale and bias of a norm; errors as in `take`."""
    return dict(
      scale=self.take(f'{name}.weight', (width,)),
      bias=self.take(f'{name}.bias', (width,)))

  def finish(self) -> None:
    """Makes sure that nothing is left.

    Raises:
      CheckpointError: arrays were not used; some are named.
    """
    if self._left:
      raise errors.CheckpointError(
        f'{self._path} has beyond the network '
        f'{", ".join(sorted(self._left)[:3])}')
