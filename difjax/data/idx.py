"""The idx files of MNIST, Fashion-MNIST, KMNIST and EMNIST.

A file is two zero bytes, a type byte (8: unsigned byte), the number d of
dimensions, d big-endian uint32 sizes, then the values in C order
(yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import math
import pathlib
import zlib

import numpy as np

from difjax import errors
from difjax.data import source
from difjax.typing import Array

GZIP_MAGIC = b'\x1f\x8b'
UNSIGNED_BYTE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Idx(source.InMemory):
  """Grey images of an idx file, gzipped or not.

  Attributes:
    images: path of the file of images [N, H, W].
    labels: path of the file of labels [N], or None.
    start: first example that is kept.
    stop: one past the last example that is kept; None is the end.
  """

  images: str
  labels: str | None = None
  start: int = 0
  stop: int | None = None

  @functools.cached_property
  def arrays(self) -> dict[str, Array]:
    """Image [N, H, W, 1] uint8 and, with a label file, label [N] int32."""
    images = read_idx(self.images, ndim=3)
    kept = source.span(len(images), self.start, self.stop)
    part = slice(kept.start, kept.stop)
    if self.labels is None:
      return {'image': images[part, ..., None]}
    labels = read_idx(self.labels, ndim=1)
    if len(labels) != len(images):
      raise errors.DataError(
        f'{self.labels} has {len(labels)} labels but {self.images} has '
        f'{len(images)} images: give the two files of one split'
      )
    return {
      'image': images[part, ..., None],
      'label': labels[part].astype(np.int32),
    }


def read_idx(path: str, ndim: int) -> Array:
  """Reads an idx file of unsigned bytes.

  Args:
    path: file, gzipped or not.
    ndim: how many dimensions it must have.

  Returns:
    uint8 array of the shape that the header states.

  Raises:
    DataError: if the file is absent or is not what its header says.
  """
  try:
    data = pathlib.Path(path).read_bytes()
    data = gzip.decompress(data) if data[:2] == GZIP_MAGIC else data
  except (OSError, EOFError, zlib.error) as e:
    raise errors.DataError(
      f'cannot read idx file {path} ({e}): check the path, or fetch it again'
    ) from e
  if len(data) < 4 + 4 * ndim or data[:4] != bytes([0, 0, UNSIGNED_BYTE, ndim]):
    raise errors.DataError(
      f'{path} is no idx file of unsigned bytes with {ndim} dimensions (it '
      f'starts with {data[:4].hex()}): images have 3 dimensions, labels 1'
    )
  shape = tuple(np.frombuffer(data, '>u4', count=ndim, offset=4).tolist())
  values = np.frombuffer(data, np.uint8, offset=4 + 4 * ndim)
  if math.prod(shape) != len(values):
    raise errors.DataError(
      f'{path} states shape {shape} but holds {len(values)} values: it is cut '
      'short or damaged, fetch it again'
    )
  return values.reshape(shape)
