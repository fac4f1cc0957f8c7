"""Safetensors: a JSON header and the numbers behind it.

Eight bytes give the header's length; the header maps each name to its type,
shape and place among the bytes that follow. As the format asks, the places
tile those bytes without gaps or overlaps.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from difjax import errors
from difjax.interop import records

_PREFIX = 8  # bytes of the header's length
_REMARKS = '__metadata__'
_ALIGNMENT = 64  # of the numbers, so that maps of a file need no copies
_LONGEST_HEADER = 100_000_000  # as in the format's own library
_DTYPES = types.MappingProxyType({
  name: np.dtype(dtype)
  for name, dtype in {
    'BF16': ml_dtypes.bfloat16, 'BOOL': 'bool', 'C64': 'complex64',
    'F16': 'float16', 'F32': 'float32', 'F64': 'float64',
    'F8_E4M3': ml_dtypes.float8_e4m3fn, 'F8_E5M2': ml_dtypes.float8_e5m2,
    'I16': 'int16', 'I32': 'int32', 'I64': 'int64', 'I8': 'int8',
    'U16': 'uint16', 'U32': 'uint32', 'U64': 'uint64', 'U8': 'uint8',
  }.items()
})  # fmt: skip


def recognises(head: bytes) -> bool:
  """Says whether a file begins so: a length that may be, then an object."""
  length = int.from_bytes(head[:_PREFIX], 'little')
  return length <= _LONGEST_HEADER and head[_PREFIX:].startswith(b'{')


def read(stream: BinaryIO) -> dict[str, np.ndarray]:
  """Reads the arrays by name; the file's remarks are left out.

  Raises:
    CheckpointError: the file is cut short or contradicts itself.
    ValueError, KeyError, TypeError: the header is damaged.
  """
  length = int.from_bytes(stream.read(_PREFIX), 'little')
  head = stream.read(length)
  if len(head) != length:
    raise errors.CheckpointError('it ends within its header')
  entries = json.loads(head, object_pairs_hook=_unique)
  entries.pop(_REMARKS, None)
  data = np.frombuffer(stream.read(), np.uint8)
  end = 0
  for name, entry in sorted(
    entries.items(), key=lambda item: item[1]['data_offsets']
  ):
    start, stop = entry['data_offsets']
    if start != end or stop < start or stop > len(data):
      raise errors.CheckpointError(
        f'the bytes of {name!r} overlap, leave a gap or are not in the file'
      )
    end = stop
  if end != len(data):
    raise errors.CheckpointError('bytes follow its last array')
  return {name: _array(name, entry, data) for name, entry in entries.items()}


def ordered(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """Returns arrays by name in the order in which `write` writes them.

  Wide numbers come first, so that all lie at multiples of their width.
  """
  key = lambda item: (-item[1].dtype.itemsize, item[0])
  return dict(sorted(arrays.items(), key=key))


def write(
  stream: BinaryIO,
  arrays: Mapping[str, Any],
  remarks: Mapping[str, str] | None = None,
) -> None:
  """Writes arrays by name; one at a time is on the host.

  Args:
    stream: where; what is written begins at its place.
    arrays: of numpy or jax.
    remarks: texts by name, which `read` leaves out.

  Raises:
    ValueError: the format has no such type.
  """
  names = {dtype: name for name, dtype in _DTYPES.items()}
  odd = [name for name, array in arrays.items() if array.dtype not in names]
  if odd:
    raise ValueError(f'{odd[0]} has the type {arrays[odd[0]].dtype}')
  arrays = ordered(arrays)
  header: dict[str, Any] = {_REMARKS: dict(remarks)} if remarks else {}
  end = 0
  for name, array in arrays.items():
    start, end = end, end + math.prod(array.shape) * array.dtype.itemsize
    header[name] = {
      'dtype': names[array.dtype], 'shape': list(array.shape),
      'data_offsets': [start, end],
    }  # fmt: skip
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-(_PREFIX + len(text)) % _ALIGNMENT)
  stream.write(len(text).to_bytes(_PREFIX, 'little') + text)
  for array in arrays.values():
    numbers = np.ascontiguousarray(np.asarray(array)).reshape(-1)
    stream.write(memoryview(numbers.view(np.uint8)))


def _array(name: str, entry: dict[str, Any], data: np.ndarray) -> np.ndarray:
  start, stop = entry['data_offsets']
  sizes = records.shape(entry['shape'])
  if entry['dtype'] not in _DTYPES:
    raise errors.CheckpointError(
      f'{name!r} has the type {entry["dtype"]!r}, not one of '
      f'{", ".join(_DTYPES)}'
    )
  dtype = _DTYPES[entry['dtype']]
  if stop - start != math.prod(sizes) * dtype.itemsize:
    raise errors.CheckpointError(f'{name!r} has not the bytes of its shape')
  return data[start:stop].view(dtype).reshape(sizes)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  found = dict(pairs)
  if len(found) != len(pairs):
    raise errors.CheckpointError('its header has a name twice')
  return found
