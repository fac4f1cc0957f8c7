"""Where the time of a compiled function goes, by kind of operation.

XLA's profiler notes when each instruction runs; the compiled program says which
operation of ours an instruction came from, and whether of its gradient.

On CPUs convolutions and products are handed to a pool of threads, and what is
noted of them is when they are handed over and when they are done. While r of
the c cores run instructions of their own and p instructions are with the pool,
each of the latter is taken to have

  (c - r) / p                                                             (1)

cores: what they have between them is known, and how they share it is not.
"""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import operator
import os
import pathlib
import re
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax

# name = ... metadata={op_name="jit(f)/transpose(jvp(net))/.../dot_general" ...
_INSTRUCTION = re.compile(r'%?(\S+) = .*metadata=\{op_name="([^"]+)"')
_END = 'end: '  # before the name of what is done
_AROUND = re.compile(r'(while|call|conditional)[.\d]*$')  # hold what they run
_KINDS: Final = types.MappingProxyType({
  'conv_general_dilated': 'convolutions',
  'dot_general': 'matrix products',
})


def shares(
  compiled: jax.stages.Compiled, call: Callable[[], object]
) -> dict[str, float]:
  """Runs a compiled function once and says what took its time.

  Args:
    compiled: the function.
    call: runs it, until it is done.

  Returns:
    By kind of operation and direction ('convolutions, backward'), the share of
    the cores' time that all instructions took, the greatest first.
  """
  sources = dict(
    found.groups()
    for line in compiled.as_text().splitlines()
    if (found := _INSTRUCTION.search(line))
  )
  spent: collections.Counter[str] = collections.Counter()
  for span, seconds in _cores(_trace(call), os.cpu_count() or 1).items():
    spent[_kind(sources.get(span.name, ''))] += seconds
  whole = sum(spent.values())
  return {kind: time / whole for kind, time in spent.most_common()}


def _kind(source: str) -> str:
  kind = _KINDS.get(source.rpartition('/')[2], 'the rest')
  return f'{kind}, {"backward" if "transpose(" in source else "forward"}'


@dataclasses.dataclass(frozen=True, eq=False)
class Span:
  """When an instruction ran, in microseconds.

  Attributes:
    name: of the instruction.
    begins: when a thread takes it up.
    returns: when that thread goes on; until then it runs it.
    ends: when it is done; until then it is with the pool.
  """

  name: str
  begins: float
  returns: float
  ends: float


def _cores(spans: Sequence[Span], count: int) -> Mapping[Span, float]:
  """Returns the time of one core that each span took, by (1)."""
  running: set[Span] = set()
  pooled: set[Span] = set()
  changes = [
    *((span.begins, running.add, span) for span in spans),
    *((span.returns, running.discard, span) for span in spans),
    *((span.returns, pooled.add, span) for span in spans),
    *((span.ends, pooled.discard, span) for span in spans),
  ]
  spent: collections.Counter[Span] = collections.Counter()
  now = 0.0
  for time, change, span in sorted(changes, key=operator.itemgetter(0)):
    for each in running:
      spent[each] += time - now
    free = max(count - len(running), 0)
    for each in pooled:
      spent[each] += (time - now) * free / len(pooled)
    now = time
    change(span)
  return spent


def _trace(call: Callable[[], object]) -> list[Span]:
  """Returns the instructions that a call runs."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      call()
    (path,) = pathlib.Path(folder).rglob('*.trace.json.gz')
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
  ends: dict[str, list[float]] = collections.defaultdict(list)
  for event in events:
    name = event.get('name', '')
    if name.startswith(_END):
      ends[name.removeprefix(_END)].append(event['ts'])
  return [
    _span(event, ends[event['args']['hlo_op']])
    for event in events
    if 'hlo_op' in event.get('args', {}) and 'dur' in event
    and not _AROUND.match(event['args']['hlo_op'])
  ]  # fmt: skip


def _span(event: Mapping[str, Any], ends: Sequence[float]) -> Span:
  returns = event['ts'] + event['dur']
  # A loop runs it again and again; GPUs note no end.
  done = min((end for end in ends if end >= event['ts']), default=returns)
  return Span(
    event['args']['hlo_op'], event['ts'], returns, max(done, returns)
  )
