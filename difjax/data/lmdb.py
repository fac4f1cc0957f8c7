"""Images in an LMDB, the format in which LSUN is distributed.

A data base is a folder with data.mdb, which maps keys to encoded images (WebP
in LSUN's). LMDB finds a value by its key, not by its number: the sorted keys
are listed once and kept in an index beside the data, or in the cache where the
data are read-only. The index is made again when the data base has changed.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from difjax import errors
from difjax.data import images, source, tfrecord
from difjax.typing import Array

DATA = 'data.mdb'
INDEX = 'difjax_keys.npz'
_OPENING = threading.Lock()  # LMDB forbids to open a file twice in a process


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lmdb(images.Encoded):
  """Encoded images in the order of their keys, without labels.

  Attributes:
    path: the folder that holds data.mdb, e.g. church_outdoor_train_lmdb.
    size: side of ADM's centre crop; None where all images have one size. On
      LSUN, whose short sides have 256 pixels, 256 is the central square.
    channels: 1, 3 or 4.
  """

  path: str
  size: int | None = None
  channels: int = 3

  def encoded(self, i: int) -> tuple[str, bytes, None]:
    """Name and bytes of example `i`; there is no label."""
    ends, keys = self._keys
    key = keys[0 if i == 0 else ends[i - 1] : ends[i]].tobytes()
    name = f'{self.path}[{key.decode(errors="backslashreplace")}]'
    with _opened(self._folder).begin() as transaction:
      data = transaction.get(key)
    if data is None:
      raise errors.DataError(f'{name} is gone: the data base has changed')
    return name, data, None

  def __len__(self) -> int:
    return len(self._keys[0])

  def fingerprint(self) -> str:
    """Digest of the keys, the file's size, and how images are decoded."""
    size = (self._folder / DATA).stat().st_size
    return source.digest([size, *self._keys, self.size, self.channels])

  @functools.cached_property
  def _folder(self) -> pathlib.Path:
    folder = pathlib.Path(self.path).absolute()
    if not (folder / DATA).is_file():
      raise errors.DataError(
        f'{self.path} is no folder with {DATA}: give what a zip of LSUN '
        '(https://github.com/fyu/lsun) unpacks to, such as church_train_lmdb'
      )
    return folder

  @functools.cached_property
  def _keys(self) -> tuple[Array, Array]:
    """Where each key ends, int64 [N], and the bytes of all keys, uint8."""
    environment = _opened(self._folder)
    stat, info = environment.stat(), environment.info()
    size = (self._folder / DATA).stat().st_size
    if not stat['entries']:
      raise errors.DataError(f'{self.path} is an empty data base')
    # A page that is mapped but not in the file would end the process.
    if size < (info['last_pgno'] + 1) * stat['psize']:
      raise _damaged(self.path, 'truncated')
    state = np.array([stat['entries'], info['last_txnid'], size])
    for path in tfrecord.index_paths(self._folder, INDEX):
      found = _read_index(path, state)
      if found is not None:
        return found
    ends, keys = _list_keys(environment, self.path)
    arrays = {'state': state, 'ends': ends, 'keys': keys}
    tfrecord.save_index(self._folder, arrays, INDEX)
    return ends, keys


def _list_keys(environment: Any, name: str) -> tuple[Array, Array]:
  import lmdb
  import tqdm

  def keys() -> Iterator[bytes]:
    with environment.begin() as transaction:
      yield from transaction.cursor().iternext(values=False)

  show = sys.stderr.isatty()
  try:
    listed = list(tqdm.tqdm(keys(), 'index', unit='key', disable=not show))
  except lmdb.Error as e:
    raise _damaged(name, e) from e
  ends = np.cumsum([len(key) for key in listed], dtype=np.int64)
  return ends, np.frombuffer(b''.join(listed), np.uint8)


def _read_index(
  path: pathlib.Path, state: Array
) -> tuple[Array, Array] | None:
  """The keys, or None where the index is absent, stale or damaged."""
  try:
    with np.load(path, allow_pickle=False) as file:
      fresh = np.array_equal(file['state'], state)
      return (file['ends'], file['keys']) if fresh else None
  except (OSError, KeyError, ValueError, zipfile.BadZipFile):
    return None


def _opened(folder: pathlib.Path) -> Any:
  """The folder's environment; without locks, threads and forks may share it."""
  with _OPENING:
    return _open(folder)


@functools.lru_cache(maxsize=64)
def _open(folder: pathlib.Path) -> Any:
  try:
    import lmdb
  except ImportError as e:
    raise errors.DataError(
      f'{folder} is an LMDB: run `pip install lmdb` to read it'
    ) from e
  try:
    return lmdb.open(
      str(folder), readonly=True, lock=False, readahead=False, create=False
    )
  except lmdb.Error as e:
    raise _damaged(str(folder), e) from e


def _damaged(name: str, reason: object) -> errors.DataError:
  return errors.DataError(
    f'{name}/{DATA} is no LMDB, or damaged ({reason}): fetch it again'
  )
