"""The text of a compiled program: its computations and instructions.

  %body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
    %p = (s32[], f32[8]{0}) parameter(0)
    %x = f32[8]{0} get-tuple-element(%p), index=1
    ROOT %y = f32[64]{0} all-gather(%x), dimensions={0}, ...
  }

An instruction has a name, a type, an operation, operands and attributes; some
attributes name the computations that it runs.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterator
from typing import Final

_HEAD = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$')
_INSTRUCTION = re.compile(
  r'^\s+(ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$'
)
_COMMENT = re.compile(r'/\*.*?\*/')
_SHAPE = re.compile(r'\b(pred|bf16|[a-z]\d+\w*)\[([\d,]*)\]')
_OPERAND = re.compile(r'%([\w.\-]+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(
  r'\b(calls|to_apply|body|condition|true_computation|false_computation|'
  r'branch_computations|called_computations)=(\{[^}]*\}|%?[\w.\-]+)'
)
_DEEPER: Final = types.MappingProxyType({'(': 1, ')': -1})
_WIDTHS: Final = types.MappingProxyType({
  'pred': 1, 'bf16': 2, 'f16': 2, 'f32': 4, 'f64': 8, 'c64': 8, 'c128': 16,
  's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 's32': 4, 'u32': 4, 's64': 8,
  'u64': 8,
})  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
  """A line of a computation.

  Attributes:
    name: its own, unique in the program.
    type: of its result, as written.
    operation: such as 'all-gather'.
    operands: names of the instructions that it takes.
    rest: what stands behind the operation's parenthesis, operands included.
    root: whether it is what the computation returns.
  """

  name: str
  type: str
  operation: str
  operands: tuple[str, ...]
  rest: str
  root: bool

  def called(self, attribute: str | None = None) -> list[str]:
    """Names of the computations that it runs, as an attribute or as any."""
    found = [
      (key, names) for key, names in _CALLED.findall(self.rest)
      if attribute in (None, key)
    ]  # fmt: skip
    return [
      name for _, names in found
      for name in re.findall(r'[\w.\-]+', names)
    ]  # fmt: skip

  def trips(self) -> int | None:
    """Rounds of a loop, where the compiler has noted them."""
    found = _TRIPS.search(self.rest)
    return int(found[1]) if found else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """A compiled program.

  Attributes:
    computations: instructions by name, by the computation's name, in order.
    entry: the computation that runs first.
  """

  computations: dict[str, dict[str, Instruction]]
  entry: str


def read(text: str) -> Program:
  """Reads a program, as `jax.stages.Compiled.as_text` gives it.

  Raises:
    ValueError: there is no entry in it.
  """
  computations, entry, inside = {}, None, {}
  for line in text.splitlines():
    if line.startswith((' ', '\t')):
      instruction = _instruction(line)
      if instruction is not None:
        inside[instruction.name] = instruction
    elif found := _HEAD.match(line):
      inside = computations.setdefault(found[2], {})
      entry = found[2] if found[1] else entry
  if entry is None:
    raise ValueError('this text has no ENTRY: it is no compiled program')
  return Program(computations=computations, entry=entry)


def _instruction(line: str) -> Instruction | None:
  found = _INSTRUCTION.match(_COMMENT.sub('', line))
  if found is None:
    return None
  root, name, kind, operation, rest = found.groups()
  return Instruction(
    name=name, type=kind, operation=operation, rest=rest, root=bool(root),
    operands=tuple(_OPERAND.findall(rest[: _closing(rest)])),
  )  # fmt: skip


def _closing(text: str) -> int:
  """Where the parenthesis that is open at the start of a text is closed."""
  depth = 1
  for place, letter in enumerate(text):
    depth += _DEEPER.get(letter, 0)
    if not depth:
      return place
  return len(text)


def shapes(kind: str) -> Iterator[tuple[str, int]]:
  """Yields the dtype and the bytes of each array of a type, as written."""
  for dtype, sides in _SHAPE.findall(kind):
    numbers = math.prod(int(side) for side in sides.split(',') if side)
    yield dtype, numbers * _WIDTHS.get(dtype, 1)


def size(kind: str) -> int:
  """Returns the bytes of a type."""
  return sum(number for _, number in shapes(kind))
