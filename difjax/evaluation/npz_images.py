"""Images in an .npz, read in turn: neither packed nor large ones are loaded.

numpy reads an array of an archive whole. Here its header is read, and then the
bytes of some images at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from difjax import errors
from difjax.data import images
from difjax.typing import Shape

_KEYS = ('arr_0', 'samples')  # of images, the first that is there
_READ = 256  # images at once
_DAMAGED = (
  OSError, EOFError, KeyError, ValueError, OverflowError, MemoryError,
  RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
  """Where the images of an .npz are.

  Attributes:
    file: the .npz.
    key: the array's name.
    shape: (N, H, W, C).
  """

  file: pathlib.Path
  key: str
  shape: Shape

  def parts(self) -> Iterator[np.ndarray]:
    """Reads the images in turn, packed or not.

    Yields:
      uint8 [n, H, W, C].

    Raises:
      DataError: the file is damaged.
    """
    _, *shape = self.shape
    size = math.prod(shape)
    with (
      _damage(self.file),
      zipfile.ZipFile(self.file) as archive,
      archive.open(f'{self.key}.npy') as member,
    ):
      _header(member)
      for start in range(0, self.shape[0], _READ):
        count = min(_READ, self.shape[0] - start)
        data = member.read(count * size)
        if len(data) < count * size:
          raise EOFError(f'{self.key} ends before image {start + count}')
        yield np.frombuffer(data, np.uint8).reshape(count, *shape)


def look(file: pathlib.Path) -> Head:
  """Looks into an .npz of images.

  Raises:
    DataError: it is damaged, or holds no uint8 [N, H, W, C] by a known name.
  """
  with _damage(file), zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    key = next((key for key in _KEYS if f'{key}.npy' in names), None)
    if key is None:
      raise errors.DataError(
        f'{file} holds {_listed(names) or "nothing"}, where '
        f'{" or ".join(_KEYS)} is wanted: save the images by that name'
      )
    with archive.open(f'{key}.npy') as member:
      shape, fortran, dtype = _header(member)
  if dtype != np.uint8 or len(shape) != 4:
    raise errors.DataError(
      f'{file}: {key} is {dtype} {shape}, not uint8 [N, H, W, C]: round images '
      'to bytes first, by a quantiser that you name'
    )
  if min(shape) < 1:
    raise errors.DataError(f'{file}: {key} is {shape}: it has no images')
  if fortran:
    raise errors.DataError(
      f'{file}: {key} is in the order of Fortran: save '
      'numpy.ascontiguousarray of it'
    )
  if shape[-1] not in images.MODES:
    raise errors.DataError(
      f'{file}: {key} has {shape[-1]} channels in {shape}, not 1, 3 or 4: put '
      'channels last'
    )
  return Head(file=file, key=key, shape=shape)


def _listed(names: list[str]) -> str:
  """Names the arrays of an archive."""
  return ', '.join(sorted(name.removesuffix('.npy') for name in names))


def _header(member: io.BufferedIOBase) -> tuple[Shape, bool, np.dtype]:
  """Reads shape, order and dtype in front of an array's bytes."""
  version = np.lib.format.read_magic(member)
  if version == (1, 0):
    return np.lib.format.read_array_header_1_0(member)
  return np.lib.format.read_array_header_2_0(member)


@contextlib.contextmanager
def _damage(file: pathlib.Path) -> Iterator[None]:
  """Says in one line that a file is damaged.

  Raises:
    DataError: it is.
  """
  try:
    yield
  except _DAMAGED as error:
    line = ' '.join(str(error).split())
    raise errors.DataError(
      f'{file} cannot be read as .npz ({line}): fetch or write it again'
    ) from error
