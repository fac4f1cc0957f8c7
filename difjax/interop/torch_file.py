"""PyTorch's containers without PyTorch: zip archives, streams, pickles.

An archive (torch >= 1.6) holds `NAME/data.pkl`, a pickle whose persistent
identifiers name the storages `NAME/data/KEY`. A stream (before that, and
inside pickles of tensors) is a row of pickles, a magic number first, and then
the storages, each behind its count. Tensors are views of storages by offset
and strides, so that those that share memory do so here.

What a file claims is checked before it is believed: members of an archive are
stored, not compressed, and no larger together than the file; a storage is as
long as its tensors need.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import pathlib
import struct
import types
import zipfile
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from difjax import errors
from difjax.interop import persistent, records, unpickle

ZIP_MAGIC = b'PK\x03\x04'
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct('<q')
_MOST_REPEATED = 2**24  # numbers of a tensor that is wider than its storage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Storage:
  """The numbers that tensors are views of.

  Attributes:
    octets: uint8 [bytes].
    dtype: of a number.
  """

  octets: np.ndarray
  dtype: np.dtype


def read_zip(stream: BinaryIO) -> Any:
  """Reads an archive of torch.save.

  Raises:
    CheckpointError: it is refused.
    ValueError, ...: it is damaged; see `unpickle.load`.
  """
  with zipfile.ZipFile(stream) as archive:
    root = _checked_root(archive, stream)
    members = frozenset(archive.namelist())
    read = functools.cache(lambda name: np.frombuffer(archive.read(name), 'B'))
    order = f'{root}/byteorder'
    if order in members and archive.read(order).strip() != b'little':
      raise errors.CheckpointError('its numbers are big-endian')

    def storage(dtype: np.dtype, key: str, _: str, count: int) -> Storage:
      name = f'{root}/data/{key}'
      if name not in members:
        raise errors.CheckpointError(f'it lacks the storage {key!r}')
      size = _size(dtype, count)
      if archive.getinfo(name).file_size < size:
        raise errors.CheckpointError(
          f'its storage {key!r} is shorter than the {size} bytes it claims'
        )
      return Storage(octets=read(name)[:size], dtype=dtype)

    data = io.BytesIO(archive.read(f'{root}/data.pkl'))
    return unpickle.load(data, _NAMES, _persistent(storage))


def read_stream(stream: BinaryIO, known: records.Names | None = None) -> Any:
  """Reads a pickle, and what follows if it begins a stream of torch.save.

  Raises:
    CheckpointError: it is refused.
    ValueError, ...: it is damaged; see `unpickle.load`.
  """
  known = _NAMES if known is None else known
  first = unpickle.load(stream, known)
  if type(first) is not int or first != _STREAM_MAGIC:
    return first
  version = unpickle.load(stream)
  if version != _PROTOCOL:
    raise errors.CheckpointError(f'its torch protocol {version!r} is not known')
  if not unpickle.load(stream)['little_endian']:
    raise errors.CheckpointError('its numbers are big-endian')
  storages = _Storages(stream)
  tree = unpickle.load(stream, known, _persistent(storages.claim))
  storages.fill(unpickle.load(stream))
  return tree


class _Storages:
  """The storages of a stream: claimed by its pickle, filled from behind it."""

  def __init__(self, stream: BinaryIO) -> None:
    self._stream = stream
    here = stream.tell()
    self._left = stream.seek(0, io.SEEK_END) - here
    stream.seek(here)
    self._found: dict[str, Storage] = {}

  def claim(
    self, dtype: np.dtype, key: str, _: str, count: int, part: Any = None
  ) -> Storage:
    """Makes room for a storage; a part of one is (key, offset, count)."""
    if key not in self._found:
      size = _size(dtype, count)
      self._left -= size
      if self._left < 0:
        raise errors.CheckpointError(
          f'its storage {key!r} claims more bytes than the file has'
        )
      self._found[key] = Storage(octets=np.zeros(size, np.uint8), dtype=dtype)
    whole = self._found[key]
    if part is None:
      return whole
    _, offset, length = part
    octets = _part(whole.octets, _size(dtype, offset), _size(dtype, length))
    return Storage(octets=octets, dtype=dtype)

  def fill(self, keys: list[str]) -> None:
    """Reads the numbers of all storages in the order of their keys."""
    if sorted(keys) != sorted(self._found):
      raise errors.CheckpointError('its list of storages is not that of its'
                                   ' tensors')  # fmt: skip
    for key in keys:
      storage = self._found[key]
      head = self._stream.read(_COUNT.size)
      size = _size(storage.dtype, *_COUNT.unpack(head))
      if size != len(storage.octets):
        raise errors.CheckpointError(
          f'its storage {key!r} has another size than it claims'
        )
      if self._stream.readinto(memoryview(storage.octets)) != size:
        raise errors.CheckpointError(f'it ends within the storage {key!r}')


def _checked_root(archive: zipfile.ZipFile, stream: BinaryIO) -> str:
  """Returns the folder of data.pkl, once all members may be read.

  Raises:
    CheckpointError: a member escapes or claims too much, or there is no pickle.
  """
  infos = archive.infolist()
  for info in infos:
    path = pathlib.PureWindowsPath(info.filename)  # of / and \ and drives
    if path.anchor or '..' in path.parts:
      raise errors.CheckpointError(
        f'its member {info.filename!r} would lie outside the archive'
      )
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
      raise errors.CheckpointError(
        f'its member {info.filename!r} is compressed, which torch never does'
      )
  total = sum(max(info.file_size, info.compress_size) for info in infos)
  if total > stream.seek(0, io.SEEK_END):
    raise errors.CheckpointError('its members claim more bytes than it has')
  if len(set(archive.namelist())) != len(infos):
    raise errors.CheckpointError('it has two members of one name')
  paths = [pathlib.PurePosixPath(info.filename) for info in infos]
  if any(path.match('constants.pkl') for path in paths):
    raise errors.CheckpointError(
      'it is a TorchScript program: save the state_dict instead'
    )
  roots = [p.parent for p in paths if p.match('data.pkl')]
  if len(roots) != 1 or len(roots[0].parts) != 1:
    raise errors.CheckpointError(
      'it is a zip archive without one data.pkl, so not of torch.save'
    )
  return str(roots[0])


def _persistent(storage: Any) -> unpickle.Persistent:
  kinds = types.MappingProxyType({
    'storage': storage,
    'module': lambda found, *_: found,  # source that torch would compare
  })

  def find(identifier: Any) -> Any:
    kind, *rest = identifier
    return kinds[kind](*rest)

  return find


def _size(dtype: np.dtype, count: int) -> int:
  """Returns the bytes of so many numbers."""
  if type(count) is not int or count < 0:
    raise ValueError(f'{count!r} numbers')
  return count * dtype.itemsize


def _part(octets: np.ndarray, start: int, size: int) -> np.ndarray:
  if start + size > len(octets):
    raise errors.CheckpointError('it has a view that leaves its storage')
  return octets[start : start + size]


def _tensor(
  storage: Storage, offset: int, sizes: Any, strides: Any, *_: Any
) -> np.ndarray:
  """Stands for a tensor: a view of a storage, in numbers, not bytes."""
  return _view(storage.octets, storage.dtype, offset, sizes, strides)


def _untyped_tensor(
  storage: Storage, offset: int, sizes: Any, strides: Any,
  grad: bool, hooks: Any, dtype: np.dtype, *_: Any,
) -> np.ndarray:  # fmt: skip
  """Stands for a tensor of a type that is not its storage's."""
  del grad, hooks
  return _view(storage.octets, dtype, offset, sizes, strides)


def _view(
  octets: np.ndarray, dtype: np.dtype, offset: int, sizes: Any, strides: Any
) -> np.ndarray:
  sizes, strides = records.shape(sizes), records.shape(strides)
  start, count = _size(dtype, offset), math.prod(sizes)
  if not count:
    return np.empty(sizes, dtype)
  reach = sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
  if start + _size(dtype, reach + 1) > len(octets):
    raise errors.CheckpointError(
      f'its tensor of shape {sizes} reaches beyond its storage of '
      f'{len(octets)} bytes'
    )
  if count * dtype.itemsize > max(len(octets), _MOST_REPEATED):
    raise errors.CheckpointError(
      f'its tensor of shape {sizes} repeats {len(octets)} bytes'
    )
  steps = tuple(dtype.itemsize * step for step in strides)
  found = np.ndarray(sizes, dtype, octets, start, steps)
  found.flags.writeable = False
  return found


def _first(value: Any, *_: Any) -> Any:
  """Stands for a wrapper of a tensor, such as a Parameter."""
  return value


def _of_type(function: records.Global, kind: Any, args: Any, *_: Any) -> Any:
  """Stands for a tensor of a subclass: the tensor."""
  del kind
  return function(*args)


def _device(*parts: str | int) -> str:
  return ':'.join(map(str, parts))


def _bytes_of_pickle(data: bytes) -> Any:
  """Stands for a storage inside a plain pickle: a stream of its own."""
  return read_stream(io.BytesIO(data), _TENSORS)  # which holds no other


def _dtypes() -> dict[tuple[str, str], np.dtype]:
  storages = {
    'BFloat16Storage': ml_dtypes.bfloat16, 'BoolStorage': 'bool',
    'ByteStorage': 'uint8', 'CharStorage': 'int8',
    'ComplexDoubleStorage': 'complex128', 'ComplexFloatStorage': 'complex64',
    'DoubleStorage': 'float64', 'FloatStorage': 'float32',
    'HalfStorage': 'float16', 'IntStorage': 'int32', 'LongStorage': 'int64',
    'ShortStorage': 'int16', 'UntypedStorage': 'uint8',
  }  # fmt: skip
  numbers = {
    'bfloat16': ml_dtypes.bfloat16, 'double': 'float64', 'float': 'float32',
    'float8_e4m3fn': ml_dtypes.float8_e4m3fn,
    'float8_e5m2': ml_dtypes.float8_e5m2, 'half': 'float16', 'int': 'int32',
    'long': 'int64', 'short': 'int16',
  }  # fmt: skip
  plain = (
    'bool', 'complex64', 'complex128', 'float16', 'float32', 'float64', 'int8',
    'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64',
  )  # fmt: skip
  numbers |= {name: name for name in plain}
  modules = ('torch', 'torch.cuda', 'torch.storage')
  found = {(m, n): d for m in modules for n, d in storages.items()}
  found |= {('torch', name): dtype for name, dtype in numbers.items()}
  return {name: np.dtype(dtype) for name, dtype in found.items()}


_TENSORS = types.MappingProxyType({
  ('torch', 'Size'): lambda sizes=(): tuple(sizes),
  ('torch', 'device'): _device,
  ('torch._tensor', '_rebuild_from_type'): _of_type,
  ('torch._tensor', '_rebuild_from_type_v2'): _of_type,
  ('torch._utils', '_rebuild_device_tensor_from_numpy'): _first,
  ('torch._utils', '_rebuild_parameter'): _first,
  ('torch._utils', '_rebuild_parameter_with_state'): _first,
  ('torch._utils', '_rebuild_tensor'): _tensor,
  ('torch._utils', '_rebuild_tensor_v2'): _tensor,
  ('torch._utils', '_rebuild_tensor_v3'): _untyped_tensor,
  **_dtypes(),
})
_NAMES = types.MappingProxyType({
  **_TENSORS,
  ('torch.storage', '_load_from_bytes'): _bytes_of_pickle,
  ('torch_utils.persistence', '_reconstruct_persistent_obj'):
    persistent.reconstruct,
})  # fmt: skip
