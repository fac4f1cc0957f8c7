"""What the names in a pickle stand for: values of data, and inert records.

Nothing here imports what a pickle names. A short list of names of Python and
NumPy stands for constructors of plain values, each of which checks that what
it is given fits; torch's are in `torch_file`. Other names of the standard
library are refused, for a checkpoint needs none of them and an attack does.
Every other name is a class of the author's: it gives a record of how it was
called, from which importers take what they know.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from difjax import errors

Names = Mapping[tuple[str, str], Any]
_SCALARS = (str, bytes, int, float, complex, types.NoneType, np.generic)
_OLD_PYTHON = frozenset({'__builtin__', 'cPickle', 'commands', 'copy_reg'})
_REFUSED = sys.stdlib_module_names | _OLD_PYTHON
# Modules that packages of other names hold as attributes: torch.os.system.
_RUNNERS = frozenset({
  '__builtins__', '__globals__', 'builtins', 'ctypes', 'importlib', 'nt', 'os',
  'posix', 'pty', 'runpy', 'shutil', 'socket', 'subprocess', 'sys',
})  # fmt: skip
_BUILTINS = ('builtins', '__builtin__')


@dataclasses.dataclass(eq=False, kw_only=True)
class Opaque:
  """An object of a class that is not known: what its pickle says of it.

  Attributes:
    module: where the class or function is said to be.
    name: its name there.
    args: what it was called with; keyword arguments are a last mapping.
    state: what the object was told to remember, None for nothing.
    mapping: items that were set, for a kind of dict.
    sequence: elements that were appended, for a kind of list.
  """

  module: str
  name: str
  args: tuple[Any, ...] = dataclasses.field(default=(), repr=False)
  state: Any = dataclasses.field(default=None, repr=False)
  mapping: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False)
  sequence: list[Any] = dataclasses.field(default_factory=list, repr=False)

  def take_state(self, state: Any) -> None:
    """Remembers a state, in place of `__setstate__`."""
    self.state = state


@dataclasses.dataclass(frozen=True)
class Global:
  """A name in a pickle, never imported.

  Attributes:
    module: where it is said to be.
    name: its name there, perhaps with dots.
    constructor: what stands for it, None for an `Opaque` record.
  """

  module: str
  name: str
  constructor: Callable[..., Any] | None = None

  def __call__(self, *args: Any) -> Any:
    """Builds the value or the record that stands for the call."""
    if self.constructor is None:
      return Opaque(module=self.module, name=self.name, args=args)
    return self.constructor(*args)


def find(module: str, name: str, known: Names) -> Any:
  """Returns what stands for a name: a `Global`, or a value.

  Args:
    module: where it is said to be.
    name: its name there.
    known: constructors and values over and above those of Python and NumPy.

  Raises:
    CheckpointError: the name has no place in a checkpoint.
  """
  for names in (known, _PLAIN):
    if (module, name) in names:
      found = names[module, name]
      return Global(module, name, found) if callable(found) else found
  root, *parts = [*module.split('.'), *name.split('.')]
  runs = root in _REFUSED or not _RUNNERS.isdisjoint(parts)
  if runs and (module, name) not in _RECORDS:
    raise errors.CheckpointError(
      f'its pickle names {f"{module}.{name}"!r}, which could run code: '
      'refused, and nothing was run'
    )
  return Global(module, name)


def key(value: Any) -> Any:
  """Returns a key of a dict or set, once it is sure to hash at once.

  Raises:
    CheckpointError: it is nested or no plain value.
  """
  parts = value if isinstance(value, tuple) else (value,)
  if not all(isinstance(part, _SCALARS) for part in parts):
    raise errors.CheckpointError(
      f'its pickle has a key of the type {type(value).__name__!r}'
    )
  return value


def pairs(flat: list[Any]) -> dict[Any, Any]:
  """Makes a dict of keys and values in turn."""
  return dict(zip(map(key, flat[::2]), flat[1::2], strict=True))


def shape(sizes: Any) -> tuple[int, ...]:
  """Returns a shape, once it is one.

  Raises:
    ValueError: it is none.
  """
  sizes = tuple(sizes)
  if any(type(n) is not int or n < 0 for n in sizes):
    raise ValueError(f'{sizes} is no shape')
  return sizes


def fill(array: np.ndarray, state: Any) -> None:
  """Gives a blank array its shape, type and numbers, once they fit.

  Raises:
    ValueError: they do not.
  """
  _, sizes, dtype, fortran, data = state
  sizes, dtype = shape(sizes), np.dtype(dtype)
  data = data.encode('latin1') if isinstance(data, str) else data  # Python 2
  fits = isinstance(data, bytes) and not dtype.hasobject
  if not fits or len(data) != math.prod(sizes) * dtype.itemsize:
    raise ValueError('an array whose bytes do not fit its shape')
  if array.size or array.base is not None:
    raise ValueError('an array that is filled twice')
  array.__setstate__((1, sizes, dtype, bool(fortran), data))


def check_order(state: Any) -> None:
  """Checks the state that follows a NumPy type.

  Raises:
    CheckpointError: its bytes are in the order of another kind of machine.
  """
  if state[1] not in ('<', '|', '='):
    raise errors.CheckpointError('its arrays are big-endian')


def _dict(items: Any = ()) -> dict[Any, Any]:
  found = items.items() if isinstance(items, dict) else items
  return {key(k): value for k, value in found}


def _set(kind: type) -> Callable[..., Any]:
  return lambda items=(): kind(map(key, items))


def _bytes(text: str | bytes = b'', coding: str = 'latin1') -> bytes:
  """Stands for bytes; old protocols spell them as text."""
  if not isinstance(text, str | bytes) or coding not in ('latin1', 'latin-1'):
    raise ValueError('bytes that are none')
  return text.encode('latin1') if isinstance(text, str) else text


def _dtype(name: Any, *_: Any) -> np.dtype:
  """Stands for numpy.dtype: numbers and text, for objects would be pickles."""
  if not isinstance(name, str | np.dtype):
    raise ValueError('a type that is none')
  dtype = np.dtype(name)
  if dtype.hasobject or dtype.names:
    raise errors.CheckpointError(f'it holds an array of the type {name!r}')
  return dtype


def _scalar(dtype: np.dtype, data: str | bytes) -> Any:
  data = _bytes(data)
  if len(data) != dtype.itemsize:
    raise ValueError('a number of another size than its type')
  return np.frombuffer(data, dtype)[0]


def _from_buffer(
  data: bytes, dtype: np.dtype, sizes: Any, order: str
) -> np.ndarray:
  """Stands for an array of protocol 5."""
  return np.frombuffer(data, dtype).reshape(shape(sizes), order=order)


def _blank(*_: Any) -> np.ndarray:
  """Stands for an array that is filled next."""
  return np.empty(0)


def _remade(kind: Global, *_: Any) -> Any:
  """Stands for the oldest protocols' way to make an object."""
  return kind()


def _made(kind: Global, *args: Any) -> Any:
  """Stands for `kind.__new__(kind, ...)`."""
  return kind(*args)


def _plain() -> dict[tuple[str, str], Any]:
  names = {
    ('collections', 'Counter'): _dict,
    ('collections', 'OrderedDict'): _dict,
    ('collections', 'defaultdict'): lambda *_: {},
    ('collections', 'deque'): lambda items=(), *_: list(items),
    ('dnnlib.util', 'EasyDict'): _dict,
    ('_codecs', 'encode'): _bytes,
    ('ml_dtypes', 'bfloat16'): np.dtype(ml_dtypes.bfloat16),
    ('numpy', 'dtype'): _dtype,
    ('numpy', 'ndarray'): _blank,
  }
  for module in _BUILTINS:
    names[module, 'bytearray'] = names[module, 'bytes'] = _bytes
    names[module, 'complex'] = complex
    names[module, 'frozenset'] = _set(frozenset)
    names[module, 'set'] = _set(set)
  for module in ('copyreg', 'copy_reg'):
    names[module, '_reconstructor'] = _remade
    names[module, '__newobj__'] = _made
  for module in ('numpy.core', 'numpy._core'):
    names[f'{module}.multiarray', '_reconstruct'] = _blank
    names[f'{module}.multiarray', 'scalar'] = _scalar
    names[f'{module}.numeric', '_frombuffer'] = _from_buffer
  for name in ('bool', 'bool_', 'float16', 'float32', 'float64', 'int32',
               'int64', 'uint8'):  # fmt: skip
    names['numpy', name] = np.dtype(name)
  return names


_PLAIN = types.MappingProxyType(_plain())
# Names of the standard library that a checkpoint may hold as records.
_RECORDS = frozenset({
  ('argparse', 'Namespace'),
  ('datetime', 'date'), ('datetime', 'datetime'), ('datetime', 'time'),
  ('datetime', 'timedelta'), ('datetime', 'timezone'),
  ('decimal', 'Decimal'), ('fractions', 'Fraction'),
  ('functools', 'partial'),
  ('pathlib', 'Path'), ('pathlib', 'PosixPath'), ('pathlib', 'PurePosixPath'),
  ('pathlib', 'PureWindowsPath'), ('pathlib', 'WindowsPath'),
  ('types', 'SimpleNamespace'), ('uuid', 'UUID'),
  *((module, kind) for module in _BUILTINS for kind in (
    'bool', 'dict', 'float', 'int', 'list', 'object', 'range', 'slice', 'str',
    'tuple',
  )),
})  # fmt: skip
