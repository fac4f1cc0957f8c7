"""What devices say to each other in a compiled program.

A program is walked from its entry: the bodies of loops count as often as they
run, of branches all. The two halves of an asynchronous operation are one. A
collective that the compiler has cut into the steps of a chain of fusions stands
in each of them, under one channel: it counts once.

The bytes of a collective are those of the whole array of which a device holds
or gets a part: the result of an all-gather, the operand of a reduce-scatter.
That is what a device receives, but for a factor of (n - 1) / n. An all-reduce
is a reduce-scatter and an all-gather, so it costs its bytes twice; where its
result is cut at once to the device's own part, it is a reduce-scatter that the
compiler has left in two pieces, and TPUs run it as one.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from difjax.evaluation import hlo

_KINDS: Final = types.MappingProxyType({  # and how often their bytes are sent
  'all-gather': 1, 'all-reduce': 2, 'all-to-all': 1, 'collective-permute': 1,
  'ragged-all-to-all': 1, 'reduce-scatter': 1, 'collective-broadcast': 1,
})  # fmt: skip
_LOOPS: Final = frozenset({'while'})
_CALLS: Final = frozenset({'fusion', 'call', 'conditional', 'async-start'})
_CUTS: Final = frozenset({'dynamic-slice'})
_VIEWS: Final = frozenset({'bitcast', 'copy', 'reshape', 'get-tuple-element'})
_REDUCES: Final = frozenset({'all-reduce', 'all-reduce-start'})
_CHAIN = re.compile(r'(?:channel_id=|chain_id=")(\d+)')
_NUMBER = re.compile(r'^constant\((\d+)\)')
_PLACE = re.compile(r'\bindex=(\d+)')
_COUNTERS = ('s32[]', 'u32[]', 's64[]')
_TAKES: Final = frozenset({'get-tuple-element'})
_SUMS: Final = frozenset({'add'})

_Chains = set[tuple[str, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total:
  """All collectives of a kind and a dtype.

  Attributes:
    kind: such as 'all-gather'.
    dtype: in which it sends.
    count: how many are run.
    bytes: of their arrays.
  """

  kind: str
  dtype: str
  count: int
  bytes: int

  @property
  def cost(self) -> int:
    """Bytes that a device receives."""
    return _KINDS[self.kind] * self.bytes


def count(text: str) -> tuple[Total, ...]:
  """Counts the collectives of a program, the most expensive kind first.

  Args:
    text: of the compiled program.
  """
  program = hlo.read(text)
  counts: collections.Counter[tuple[str, str]] = collections.Counter()
  sizes: collections.Counter[tuple[str, str]] = collections.Counter()
  for found in _walk(program, program.entry, 1):
    for dtype, size in found.parts:
      sizes[found.kind, dtype] += found.times * size
    counts[found.kind, found.parts[0][0]] += found.times
  totals = [
    Total(kind=kind, dtype=dtype, count=counts[kind, dtype], bytes=size)
    for (kind, dtype), size in sizes.items()
  ]
  return tuple(sorted(totals, key=lambda total: -total.cost))


def width(totals: Sequence[Total], *kinds: str) -> int:
  """Returns the bytes of the number in which most of some kinds are sent."""
  sent = [total for total in totals if total.kind in kinds]
  if not sent:
    return 4
  most = max(sent, key=lambda total: total.cost)
  return hlo.size(f'{most.dtype}[]')


@dataclasses.dataclass(frozen=True)
class _Found:
  kind: str
  times: int
  parts: Sequence[tuple[str, int]]  # dtype, bytes


def _walk(
  program: hlo.Program, name: str, times: int, fused: _Chains | None = None
) -> Iterator[_Found]:
  """Yields what a computation runs, so many times.

  Args:
    program: all computations.
    name: of this one.
    times: that it runs.
    fused: channel and chain of what fusions beside it have sent; None where
      it is no fusion.
  """
  inside = program.computations.get(name, {})
  chains: _Chains = set() if fused is None else fused
  for instruction in inside.values():
    operation = instruction.operation
    kind = operation.removesuffix('-start')
    if kind in _KINDS:
      chain = tuple(_CHAIN.findall(instruction.rest))
      if fused is not None and chain:
        if chain in fused:
          continue
        fused.add(chain)
      if _scattered(instruction, inside):
        kind = 'reduce-scatter'
      yield _Found(kind, times, _parts(instruction, inside))
    elif operation in _LOOPS:
      rounds = _rounds(program, instruction)
      (body,) = instruction.called('body')
      yield from _walk(program, body, times * rounds)
    elif operation in _CALLS:
      for called in instruction.called():
        yield from _walk(program, called, times, chains)


def _scattered(
  found: hlo.Instruction, inside: Mapping[str, hlo.Instruction]
) -> bool:
  """Whether all of an all-reduce's result is only cut to pieces at once."""
  if found.operation not in _REDUCES:
    return False
  names, cut = {found.name}, False
  for instruction in inside.values():
    if not names & set(instruction.operands):
      continue
    if instruction.operation in _VIEWS and not instruction.root:
      names.add(instruction.name)
    elif instruction.operation in _CUTS:
      cut = True
    else:
      return False
  return cut


def _parts(
  found: hlo.Instruction, inside: Mapping[str, hlo.Instruction]
) -> list[tuple[str, int]]:
  """Dtype and bytes of each array, on the side where they are whole."""
  given = [
    part
    for name in found.operands
    if name in inside
    for part in hlo.shapes(inside[name].type)
  ]
  result = list(hlo.shapes(found.type))
  if found.operation.endswith('-start') and len(result) > len(given):
    result = result[len(given) : 2 * len(given)]  # behind the operands
  size = lambda parts: sum(number for _, number in parts)
  return max(result, given, key=size)


def _rounds(program: hlo.Program, loop: hlo.Instruction) -> int:
  """Rounds of a loop: as noted, or what its condition compares with.

  The counter starts at zero. Where a body does several rounds at once it goes
  up by as many.
  """
  noted = loop.trips()
  if noted is not None:
    return noted
  (name,) = loop.called('condition')
  limits = [
    number
    for computation in _reached(program, name)
    for instruction in program.computations[computation].values()
    for number in _constant(instruction)
  ]
  return math.ceil(max(limits, default=1) / _stride(program, loop))


def _stride(program: hlo.Program, loop: hlo.Instruction) -> int:
  """How far the counter of a loop goes in a round."""
  (condition,), (body,) = loop.called('condition'), loop.called('body')
  inside = program.computations[body]
  (root,) = (found for found in inside.values() if found.root)
  for found in program.computations[condition].values():
    place = _PLACE.search(found.rest)
    if found.operation not in _TAKES or not place:
      continue
    following = inside.get(root.operands[int(place[1])])
    if following and following.operation in _SUMS:
      steps = (inside[name] for name in following.operands if name in inside)
      return max(number for step in steps for number in (1, *_constant(step)))
  return 1


def _constant(instruction: hlo.Instruction) -> list[int]:
  """The value of an integer that is written out, in a list."""
  if not instruction.type.startswith(_COUNTERS):
    return []
  text = f'{instruction.operation}({instruction.rest}'
  return [int(number) for number in _NUMBER.findall(text)]


def _reached(program: hlo.Program, name: str) -> Iterator[str]:
  yield name
  for instruction in program.computations[name].values():
    for called in instruction.called():
      yield from _reached(program, called)
