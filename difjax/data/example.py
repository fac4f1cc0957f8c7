"""Reads tf.train.Example messages off the wire.

  Example  { features: 1 }      Features { map<string, Feature> feature: 1 }
  Feature  { bytes_list: 1 | float_list: 2 | int64_list: 3 }, each { value: 1 }

A message is a run of (tag, value), tag = 8 number + kind; kinds are 0 (varint),
1 (eight bytes), 2 (length, then that many bytes) and 5 (four bytes). A map
entry is a message { key: 1, value: 2 }. Floats are left out: labels are
integers and images are bytes.
"""

from __future__ import annotations

import types
from collections.abc import Iterator

from difjax import errors

FIXED = types.MappingProxyType({1: 8, 5: 4})  # bytes of a value, by kind
BYTES_LIST, INT64_LIST = 1, 3


def parse(data: bytes) -> dict[str, list]:
  """Bytes and int64 features of a serialised Example.

  Raises:
    DataError: if the bytes are not such a message.
  """
  try:
    return dict(_features(data))
  except (IndexError, KeyError, TypeError, UnicodeDecodeError) as e:
    raise errors.DataError(
      f'a record of {len(data)} bytes is no tf.train.Example ({e!r}): was it '
      'written by tensorflow-datasets?'
    ) from e


def _features(data: bytes) -> Iterator[tuple[str, list]]:
  for _, features in fields(data):
    for _, entry in fields(features):
      pair = dict(fields(entry))
      for number, values in fields(pair[2]):
        if number == BYTES_LIST:
          yield pair[1].decode(), [value for _, value in fields(values)]
        if number == INT64_LIST:
          yield pair[1].decode(), list(_int64s(values))


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
  """Yields (number, value) of a message; values are raw bytes or a varint."""
  at = 0
  while at < len(data):
    tag, at = _varint(data, at)
    number, kind = tag >> 3, tag & 7
    if kind == 0:
      value, at = _varint(data, at)
    else:
      length, at = _varint(data, at) if kind == 2 else (FIXED[kind], at)
      value, at = data[at : at + length], at + length
      if at > len(data):
        raise IndexError('a field reaches beyond its message')
    yield number, value


def _int64s(data: bytes) -> Iterator[int]:
  """Values of an int64_list, packed (the rule) or one by one."""
  for _, value in fields(data):
    if not isinstance(value, bytes):
      yield _signed(value)
      continue
    at = 0
    while at < len(value):
      number, at = _varint(value, at)
      yield _signed(number)


def _varint(data: bytes, at: int) -> tuple[int, int]:
  """The number that starts at `at`, low seven bits first, and where it ends."""
  value, shift = 0, 0
  while True:
    byte = data[at]
    value |= (byte & 0x7F) << shift
    at, shift = at + 1, shift + 7
    if byte < 0x80:
      return value, at


def _signed(value: int) -> int:
  return value - (1 << 64) if value >> 63 else value
