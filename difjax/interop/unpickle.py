"""Pickles read as data, by a machine that runs none of their code.

A pickle is a program for a small stack machine. Python's own runs it by
importing what the program names and calling it; that is how a checkpoint from
a stranger runs a command. This one knows the same instructions, but imports
nothing and calls nothing but the inert stand-ins of `records`.

The instructions are those of `pickletools`, which documents each.
"""

from __future__ import annotations

import pickletools
import types
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from difjax import errors
from difjax.interop import records

Persistent = Callable[[Any], Any]


def load(
  stream: BinaryIO,
  known: records.Names = types.MappingProxyType({}),
  persistent: Persistent | None = None,
) -> Any:
  """Reads one pickle and leaves the stream behind it.

  Args:
    stream: at the pickle's first byte.
    known: what names stand for, beside those of Python and NumPy.
    persistent: what a persistent identifier stands for.

  Returns:
    Plain values, arrays, `records.Opaque` objects, `records.Global` names.

  Raises:
    CheckpointError: the pickle is refused.
    ValueError, IndexError, TypeError, KeyError, AttributeError: it is damaged.
  """
  machine = _Machine(known, persistent)
  for code, argument, _ in pickletools.genops(stream):
    if code.name in _CONSTANTS:
      machine.push(_CONSTANTS[code.name])
    elif code.name in _LITERALS:
      machine.push(argument)
    elif code.name in _INSTRUCTIONS:
      _INSTRUCTIONS[code.name](machine, argument)
    else:
      raise errors.CheckpointError(
        f'its pickle has the instruction {code.name}, which no checkpoint has'
      )
  return machine.pop(1)[0]


class _Machine:
  """The stack, the marks in it and the memo."""

  def __init__(
    self, known: records.Names, persistent: Persistent | None
  ) -> None:
    self._known = known
    self._persistent = persistent
    self._stack: list[Any] = []
    self._below: list[list[Any]] = []  # what lies under each mark
    self._memo: dict[int, Any] = {}

  def push(self, value: Any) -> None:
    """Puts a value on the stack."""
    self._stack.append(value)

  def pop(self, count: int) -> list[Any]:
    """Takes the uppermost values, the lowest first."""
    start = len(self._stack) - count
    if start < 0:
      raise IndexError('its stack is empty')
    taken = self._stack[start:]
    del self._stack[start:]
    return taken

  def mark(self, _: None) -> None:
    """Begins a sequence."""
    self._below.append(self._stack)
    self._stack = []

  def pop_mark(self) -> list[Any]:
    """Ends a sequence and takes it."""
    taken, self._stack = self._stack, self._below.pop()
    return taken

  def drop(self, _: None) -> None:
    """Drops the uppermost value, or the mark where there is none."""
    self._stack.pop() if self._stack else self.pop_mark()

  def double(self, _: None) -> None:
    """Repeats the uppermost value."""
    self.push(self._stack[-1])

  def put(self, index: int) -> None:
    """Remembers the uppermost value under a number."""
    self._memo[index] = self._stack[-1]

  def memoise(self, _: None) -> None:
    """Remembers the uppermost value under the next number."""
    self._memo[len(self._memo)] = self._stack[-1]

  def get(self, index: int) -> None:
    """Repeats what was remembered."""
    self.push(self._memo[index])

  def name(self, argument: str) -> None:
    """Pushes a name that is spelled as `module name`."""
    self.push(records.find(*argument.split(' ', 1), self._known))

  def name_of_stack(self, _: None) -> None:
    """Pushes a name whose two parts lie on the stack."""
    self.push(records.find(*self.pop(2), self._known))

  def call(self, function: Any, args: Any) -> None:
    """Pushes what stands for a call; only `Global` names are callable here."""
    if not callable(function) or not isinstance(args, tuple):
      raise TypeError('it calls what is no name')
    self.push(function(*args))

  def call_of_stack(self, _: None) -> None:
    """Calls a name with a tuple, both on the stack."""
    self.call(*self.pop(2))

  def call_with_keywords(self, _: None) -> None:
    """Calls a name with a tuple and a dict of keywords."""
    function, args, keywords = self.pop(3)
    self.call(function, (*args, keywords) if keywords else args)

  def call_since_mark(self, _: None) -> None:
    """Calls the first value above the mark with the others."""
    function, *args = self.pop_mark()
    self.call(function, tuple(args))

  def call_name(self, argument: str) -> None:
    """Calls a name with what lies above the mark."""
    args = tuple(self.pop_mark())
    self.name(argument)
    self.call(*self.pop(1), args)

  def refer(self, identifier: Any) -> None:
    """Pushes what a persistent identifier stands for."""
    if self._persistent is None:
      raise errors.CheckpointError(
        'its pickle refers to storages that are not in the file'
      )
    self.push(self._persistent(identifier))

  def append(self, values: list[Any]) -> None:
    """Appends to the list on top."""
    top = self._stack[-1]
    (top if isinstance(top, list) else top.sequence).extend(values)

  def add(self, _: None) -> None:
    """Adds what lies above the mark to the set on top."""
    values = self.pop_mark()
    self._stack[-1].update(map(records.key, values))

  def set_items(self, flat: list[Any]) -> None:
    """Sets items of the dict on top."""
    top = self._stack[-1]
    items = records.pairs(flat)
    (top if isinstance(top, dict) else top.mapping).update(items)

  def build(self, _: None) -> None:
    """Gives a state to the value on top."""
    (state,) = self.pop(1)
    top = self._stack[-1]
    if isinstance(top, np.ndarray):
      records.fill(top, state)
    elif isinstance(top, np.dtype):
      records.check_order(state)
    elif not isinstance(top, dict):  # whose attributes are no data
      top.take_state(state)


_Instruction = Callable[[_Machine, Any], object]


def _nothing(machine: _Machine, argument: Any) -> None:
  del machine, argument


def _making(kind: Callable[[], Any]) -> _Instruction:
  return lambda machine, _: machine.push(kind())


def _of_mark(kind: Callable[[list[Any]], Any]) -> _Instruction:
  return lambda machine, _: machine.push(kind(machine.pop_mark()))


def _tuple(count: int) -> _Instruction:
  return lambda machine, _: machine.push(tuple(machine.pop(count)))


def _frozen(values: list[Any]) -> frozenset[Any]:
  return frozenset(map(records.key, values))


_CONSTANTS = types.MappingProxyType({
  'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': (),
})  # fmt: skip
_LITERALS = frozenset({
  'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT',
  'BINFLOAT', 'STRING', 'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES',
  'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8', 'UNICODE', 'BINUNICODE',
  'SHORT_BINUNICODE', 'BINUNICODE8',
})  # fmt: skip
_INSTRUCTIONS = types.MappingProxyType({
  **dict.fromkeys(('PROTO', 'FRAME', 'STOP'), _nothing),
  **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT'), _Machine.put),
  **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), _Machine.get),
  **dict.fromkeys(('REDUCE', 'NEWOBJ'), _Machine.call_of_stack),
  'MEMOIZE': _Machine.memoise,
  'MARK': _Machine.mark,
  'POP': _Machine.drop,
  'POP_MARK': lambda machine, _: machine.pop_mark(),
  'DUP': _Machine.double,
  'EMPTY_LIST': _making(list),
  'EMPTY_DICT': _making(dict),
  'EMPTY_SET': _making(set),
  'LIST': _of_mark(list),
  'DICT': _of_mark(records.pairs),
  'TUPLE': _of_mark(tuple),
  'FROZENSET': _of_mark(_frozen),
  'TUPLE1': _tuple(1),
  'TUPLE2': _tuple(2),
  'TUPLE3': _tuple(3),
  'APPEND': lambda machine, _: machine.append(machine.pop(1)),
  'APPENDS': lambda machine, _: machine.append(machine.pop_mark()),
  'ADDITEMS': _Machine.add,
  'SETITEM': lambda machine, _: machine.set_items(machine.pop(2)),
  'SETITEMS': lambda machine, _: machine.set_items(machine.pop_mark()),
  'GLOBAL': _Machine.name,
  'STACK_GLOBAL': _Machine.name_of_stack,
  'INST': _Machine.call_name,
  'OBJ': _Machine.call_since_mark,
  'NEWOBJ_EX': _Machine.call_with_keywords,
  'BUILD': _Machine.build,
  'PERSID': _Machine.refer,
  'BINPERSID': lambda machine, _: machine.refer(*machine.pop(1)),
})
