"""The official archives of CIFAR-10 and CIFAR-100 (Krizhevsky 2009).

Read as they come, packed or unpacked, in the Python layout (pickles of
{data [N, 3072], labels}) and in the binary one (a label byte, or two for
CIFAR-100, then 3,072 bytes an image). Pixels are stored channel first.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import pathlib
import pickle
import re
import tarfile
import types
import zlib
from typing import Any, Literal

import numpy as np

from difjax import errors
from difjax.data import source
from difjax.typing import Array

FILES = types.MappingProxyType({
  'train': re.compile(r'(data_batch_\d+|train)(\.bin)?'),
  'test': re.compile(r'(test_batch|test)(\.bin)?'),
})
PIXELS = 3 * 32 * 32
# What pickled arrays refer to: old NumPy's names, and the new one's.
ALLOWED = frozenset(
  {
    ('numpy', 'dtype'),
    ('numpy', 'ndarray'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('_codecs', 'encode'),
  }
)
CLASS_NAMES = (
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CifarArchive(source.InMemory):
  """CIFAR images [32, 32, 3] with their (fine) labels.

  Attributes:
    path: cifar-10-python.tar.gz, cifar-10-binary.tar.gz, their CIFAR-100
      counterparts, or the folder that one of them unpacks to.
    split: which part.
  """

  path: str
  split: Literal['train', 'test'] = 'train'

  @functools.cached_property
  def arrays(self) -> dict[str, Array]:
    """Image [N, 32, 32, 3] uint8 and label [N] int32, in the files' order."""
    files = _read(pathlib.Path(self.path), FILES[self.split])
    if not files:
      raise errors.DataError(
        f'{self.path} holds no {self.split} files of CIFAR: it must be an '
        'archive from https://www.cs.toronto.edu/~kriz/cifar.html, or the '
        'folder with its batches'
      )
    parts = [_parse(files[n], f'{self.path}/{n}') for n in sorted(files)]
    pixels, labels = map(np.concatenate, zip(*parts, strict=True))
    planes = pixels.reshape(-1, 3, 32, 32)
    return {
      'image': np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
      'label': labels.astype(np.int32),
    }

  @property
  def class_names(self) -> tuple[str, ...]:
    """CIFAR-10's classes; empty for CIFAR-100."""
    return CLASS_NAMES if self.num_classes == len(CLASS_NAMES) else ()


class ArrayUnpickler(pickle.Unpickler):
  """Loads arrays and built-in containers; any other object is refused."""

  def find_class(self, module: str, name: str) -> Any:
    """The few names that a pickled numpy array refers to."""
    if (module, name) not in ALLOWED:
      raise pickle.UnpicklingError(f'{module}.{name} is not allowed here')
    return super().find_class(module, name)


def _read(path: pathlib.Path, wanted: re.Pattern[str]) -> dict[str, bytes]:
  """Contents, by last part of the name, of the wanted files at any depth."""
  if not path.exists():
    raise errors.DataError(
      f'{path} does not exist: fetch cifar-10-python.tar.gz from '
      'https://www.cs.toronto.edu/~kriz/cifar.html'
    )
  if path.is_dir():
    files = (f for f in path.rglob('*') if f.is_file())
    return {f.name: f.read_bytes() for f in files if wanted.fullmatch(f.name)}
  try:
    with tarfile.open(path) as tar:
      members = ((pathlib.PurePosixPath(m.name).name, m) for m in tar)
      return {
        name: tar.extractfile(member).read()
        for name, member in members
        if member.isfile() and wanted.fullmatch(name)
      }
  except (OSError, EOFError, tarfile.TarError, zlib.error) as e:
    raise errors.DataError(
      f'{path} is not a readable tar archive ({e}): fetch it again'
    ) from e


def _parse(data: bytes, name: str) -> tuple[Array, Array]:
  """Pixels [N, 3072] and labels [N] of one file."""
  pixels, labels = (_binary if name.endswith('.bin') else _python)(data, name)
  if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS):
    raise errors.DataError(
      f'{name} holds {pixels.dtype} {pixels.shape} and {len(labels)} labels, '
      f'not uint8 [N, {PIXELS}] and N: fetch it again'
    )
  return pixels, labels


def _python(data: bytes, name: str) -> tuple[Array, Array]:
  try:
    batch = ArrayUnpickler(io.BytesIO(data), encoding='bytes').load()
    labels = batch[b'fine_labels' if b'fine_labels' in batch else b'labels']
    return np.asarray(batch[b'data']), np.asarray(labels)
  # A damaged pickle may raise nearly anything.
  except Exception as e:
    raise errors.DataError(
      f'{name} is not a batch of the official archive ({e}): fetch it again'
    ) from e


def _binary(data: bytes, name: str) -> tuple[Array, Array]:
  fine = name.endswith(('train.bin', 'test.bin'))  # CIFAR-100: coarse, fine
  width = 1 + fine + PIXELS
  if not data or len(data) % width:
    raise errors.DataError(
      f'{name} has {len(data)} bytes, no multiple of {width}: fetch it again'
    )
  rows = np.frombuffer(data, np.uint8).reshape(-1, width)
  return rows[:, 1 + fine :], rows[:, int(fine)]
