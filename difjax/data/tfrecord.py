"""Random access to TFRecord files, without TensorFlow.

A file is a sequence of records (tensorflow/core/lib/io/record_writer.h)

  uint64 length, uint32 crc(length), length bytes, uint32 crc(bytes)     (1)

in little-endian order, where crc is CRC-32C, masked as
rotate_right(c, 15) + 0xa282ead8. Where the records start is found once and
kept in an index beside the files; a record is then one seek and one read.

The index checks the crc of every length, which proves the framing. It leaves
out the crc of the bytes: Python manages some MB/s of it, and a damaged image
fails to decode, by name.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import struct
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from difjax import errors
from difjax.data import source
from difjax.typing import Array

INDEX = 'difjax_index.npz'
HEAD = struct.Struct('<QI')  # length and its crc
FOOT = 4  # the crc of the bytes
REFLECTED_POLYNOMIAL = 0x82F63B78  # of CRC-32C (Castagnoli)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
  """Records `start` to `stop` of the file `name`."""

  name: str
  start: int
  stop: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records:
  """Serialised records of several pieces of one folder, in order.

  Attributes:
    folder: where the files and their index are.
    pieces: what is read.
  """

  folder: pathlib.Path
  pieces: tuple[Piece, ...]

  def __len__(self) -> int:
    return int(self._ends[-1])

  def __getitem__(self, i: int) -> bytes:
    k = int(np.searchsorted(self._ends, i, side='right'))
    piece = self.pieces[k]
    row = piece.stop - int(self._ends[k]) + i
    begin, end = self._bounds[piece.name][row : row + 2].tolist()
    with (self.folder / piece.name).open('rb') as file:
      file.seek(begin + HEAD.size)
      return file.read(end - begin - HEAD.size - FOOT)

  @functools.cached_property
  def _ends(self) -> Array:
    return np.cumsum([piece.stop - piece.start for piece in self.pieces])

  @functools.cached_property
  def _bounds(self) -> dict[str, Array]:
    bounds = read_index(self.folder, {piece.name for piece in self.pieces})
    for piece in self.pieces:
      if piece.stop >= len(bounds[piece.name]):
        raise errors.DataError(
          f'{self.folder}/{piece.name} holds {len(bounds[piece.name]) - 1} '
          f'records, not the {piece.stop} that are stated: fetch it again'
        )
    return bounds


def write_index(folder: str) -> pathlib.Path:
  """Finds every record of a folder's TFRecord files and writes the index.

  Returns:
    Where the index is: in the folder, or in the cache if that is read-only.

  Raises:
    DataError: if there is no TFRecord file or one is damaged.
  """
  import tqdm

  root = pathlib.Path(folder).absolute()
  files = sorted(f for f in root.glob('*tfrecord*') if f.is_file())
  if not files:
    raise errors.DataError(
      f'{folder} has no *tfrecord* files: give the folder that holds them, '
      'e.g. ~/tensorflow_datasets/cifar10/3.0.2'
    )
  progress = tqdm.tqdm(files, unit='file', disable=not sys.stderr.isatty())
  bounds = {f.name: np.fromiter(scan(f), np.int64) for f in progress}
  return save_index(root, bounds)


def save_index(
  folder: pathlib.Path, arrays: Mapping[str, Array], name: str = INDEX
) -> pathlib.Path:
  """Writes an index beside the data, or in the cache if that is read-only.

  Args:
    folder: the data, absolute.
    arrays: what is saved, by name.
    name: the index's file name.

  Returns:
    Where the index is.

  Raises:
    DataError: if neither place can be written to.
  """
  for path in index_paths(folder, name):
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      partial = path.with_suffix(f'.{os.getpid()}.partial.npz')
      np.savez(partial, **arrays)
      os.replace(partial, path)
      return path
    except OSError as e:
      failure = e
  raise errors.DataError(f'cannot write the index of {folder}: {failure}')


def read_index(folder: pathlib.Path, names: Iterable[str]) -> dict[str, Array]:
  """Where records start in the named files, int64 [N + 1] each.

  Raises:
    DataError: if there is no index, or a file has changed since.
  """
  remedy = f'run `difjax data index {folder}` (once)'
  found = [path for path in index_paths(folder.absolute()) if path.exists()]
  if not found:
    raise errors.DataError(f'{folder} is TFRecord without an index: {remedy}')
  try:
    with np.load(found[0], allow_pickle=False) as file:
      bounds = {name: file[name] for name in names}
    stale = [n for n, b in bounds.items() if b[-1] != _size(folder / n)]
  except (OSError, KeyError, ValueError, zipfile.BadZipFile) as e:
    raise errors.DataError(f'index {found[0]}: {e}; {remedy}') from e
  if stale:
    raise errors.DataError(f'{folder}/{stale[0]} has changed: {remedy}')
  return bounds


def index_paths(
  folder: pathlib.Path, name: str = INDEX
) -> tuple[pathlib.Path, ...]:
  """Where a folder's index may be: in the folder, or in the cache."""
  cache = os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
  other = f'{source.digest([str(folder), name])}.npz'
  return folder / name, pathlib.Path(cache) / 'difjax' / 'index' / other


def scan(path: pathlib.Path) -> Iterator[int]:
  """Yields where each record of a file starts, and at last the file's size.

  Raises:
    DataError: if the file is not a whole sequence of records.
  """
  size, at = _size(path), 0
  with path.open('rb') as file:
    while at < size:
      yield at
      file.seek(at)
      head = file.read(HEAD.size)
      whole = len(head) == HEAD.size
      length, crc = HEAD.unpack(head) if whole else (0, None)
      end = at + HEAD.size + length + FOOT
      if crc != masked_crc32c(head[:8]) or end > size:
        raise errors.DataError(
          f'{path} is no TFRecord file, or damaged, from byte {at} on: fetch '
          'or prepare it again (compressed files are not read)'
        )
      at = end
  yield size


def masked_crc32c(data: bytes) -> int:
  """The checksum of TFRecord over a few bytes."""
  table, crc = _crc_table(), 0xFFFFFFFF
  for byte in data:
    crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[int, ...]:
  def entry(value: int) -> int:
    for _ in range(8):
      value = value >> 1 ^ (REFLECTED_POLYNOMIAL if value & 1 else 0)
    return value

  return tuple(entry(byte) for byte in range(256))


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size
