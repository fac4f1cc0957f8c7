"""Checkpoints of other projects, read as data whatever they are packed in.

What a file is, its bytes say, never its name. Reading one imports and runs
nothing that it names; what is off about it is said in one line.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from difjax import errors
from difjax.interop import msgpack_file, safetensors_file, torch_file

_HEAD = 16  # bytes that tell what a file is
_DAMAGE = (
  ArithmeticError, AssertionError, AttributeError, EOFError, LookupError,
  MemoryError, RuntimeError, TypeError, ValueError, struct.error,
  zipfile.BadZipFile,
)  # fmt: skip
_OLD_PICKLES = b'(ci]}'  # how pickles of protocols 0 and 1 begin


def read(path: str | os.PathLike[str]) -> Any:
  """Reads a checkpoint.

  Args:
    path: a file of torch.save (an archive or the older stream), a pickle, a
      file of safetensors or of flax.serialization.

  Returns:
    Nested dicts, lists and tuples of NumPy arrays and plain values, with
    `records.Opaque` for objects of unknown classes. Arrays may share memory
    and be read-only.

  Raises:
    CheckpointError: the file is missing, damaged, malicious or of no kind
      that is known; one line that begins with the path.
  """
  with told_of(path), pathlib.Path(path).open('rb') as stream:
    return _reader(stream)(stream)


@contextlib.contextmanager
def told_of(path: str | os.PathLike[str]) -> Iterator[None]:
  """Makes one line of whatever goes wrong as a file is read.

  Args:
    path: of the file.

  Raises:
    CheckpointError: the file is missing, damaged, malicious or another.
  """
  try:
    yield
  except errors.CheckpointError as error:
    raise errors.CheckpointError(f'{path}: {error}') from None
  except OSError as error:
    raise errors.CheckpointError(
      f'{path} cannot be read: {error.strerror or error}'
    ) from None
  except _DAMAGE as error:
    reason = ' '.join(str(error).split())[:120] or type(error).__name__
    raise errors.CheckpointError(
      f'{path} is damaged or cut short: {reason}'
    ) from None


def _reader(stream: BinaryIO) -> Callable[[BinaryIO], Any]:
  """Tells what a file is, and leaves the stream at its beginning.

  Raises:
    CheckpointError: it is nothing that is known.
  """
  head = stream.read(_HEAD)
  size = stream.seek(0, os.SEEK_END)
  stream.seek(max(0, size - 1))
  last = stream.read(1)
  stream.seek(0)
  if head.startswith(torch_file.ZIP_MAGIC):
    return torch_file.read_zip
  if safetensors_file.recognises(head):  # whose first byte may be any
    return safetensors_file.read
  if head[:1] == b'\x80' and 2 <= int.from_bytes(head[1:2]) <= 5:
    return torch_file.read_stream
  if msgpack_file.recognises(head):
    return lambda stream: msgpack_file.read(stream.read())
  if head and head[:1] in _OLD_PICKLES and last == b'.':
    return torch_file.read_stream
  raise errors.CheckpointError(
    f'it is no checkpoint that difjax knows ({size} bytes that begin with '
    f'{head[:8]!r}): needs a file of torch.save, pickle, safetensors or Flax'
  )
