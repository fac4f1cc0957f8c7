"""Flax's msgpack files, of any version: nested dicts of arrays.

The extension types are those of flax.serialization: 1 an array as (shape,
type, bytes), 2 a complex number, 3 a NumPy scalar spelled as 1. Arrays above a
gibibyte are split into chunks. Lengths that a file claims are bounded before
memory is taken for them.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from difjax import errors
from difjax.interop import records

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_LONGEST_LIST = 2**14  # lists are shapes and the like: room is made at once
_DEEPEST = 200
_TEXTS = (b'\xd9', b'\xda', b'\xdb')  # text longer than 31 bytes
_CHUNKED = '__msgpack_chunked_array__'


def recognises(head: bytes) -> bool:
  """Says whether a file begins so: with a map whose first key is text."""
  first = head[:1]
  size = {b'\xde': 3, b'\xdf': 5}.get(first, 1)  # bytes before the key
  is_map = size > 1 or b'\x81' <= first <= b'\x8f'
  key = head[size : size + 1]
  return is_map and (b'\xa0' <= key <= b'\xbf' or key in _TEXTS)


def read(data: bytes) -> Any:
  """Reads a whole file.

  Raises:
    CheckpointError: it holds what Flax does not write.
    ValueError, TypeError: it is damaged.
  """
  tree = msgpack.unpackb(
    data, ext_hook=_extension, raw=False, strict_map_key=False,
    max_array_len=_LONGEST_LIST,
  )  # fmt: skip
  return _joined(tree, _DEEPEST)


def _extension(code: int, data: bytes) -> Any:
  if code == _COMPLEX:
    return complex(*msgpack.unpackb(data, max_array_len=2))
  if code not in (_ARRAY, _SCALAR):
    raise errors.CheckpointError(f'it has the extension {code}, not of Flax')
  sizes, name, numbers = msgpack.unpackb(
    data, raw=True, max_array_len=_LONGEST_LIST
  )
  array = np.frombuffer(numbers, _dtype(name)).reshape(records.shape(sizes))
  return array[()] if code == _SCALAR else array


def _dtype(name: bytes) -> np.dtype:
  if name == b'bfloat16':
    return np.dtype(ml_dtypes.bfloat16)
  dtype = np.dtype(name.decode('ascii'))
  if dtype.hasobject or dtype.names:
    raise errors.CheckpointError(f'it holds an array of the type {name!r}')
  return dtype


def _joined(tree: Any, deepest: int) -> Any:
  """Joins the chunks of large arrays."""
  if not isinstance(tree, dict):
    return tree
  if not deepest:
    raise errors.CheckpointError(f'it is nested deeper than {_DEEPEST} levels')
  if _CHUNKED not in tree:
    return {key: _joined(value, deepest - 1) for key, value in tree.items()}
  sizes = records.shape(_in_order(tree['shape']))
  flat = np.concatenate(_in_order(tree['chunks']))
  if flat.size != math.prod(sizes):
    raise errors.CheckpointError('it has an array whose chunks do not fit')
  return flat.reshape(sizes)


def _in_order(numbered: dict[str, Any]) -> list[Any]:
  return [numbered[str(i)] for i in range(len(numbered))]
