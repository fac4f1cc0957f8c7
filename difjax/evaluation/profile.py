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

import bisect
import collections
import dataclasses
import gzip
import json
import operator
import os
import pathlib
import re
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import jax

# name = ... metadata={op_name="jit(f)/transpose(jvp(net))/.../dot_general" ...
_INSTRUCTION = re.compile(r'%?(\S+) = .*metadata=\{op_name="([^"]+)"')
_END = 'end: '  # before the name of what is done
_TASK = 'ThreadpoolListener::StartRegion'  # a thread of the pool begins one
_LATE = 0.05  # seconds until the last note is written
_AROUND = re.compile(r'(while|call|conditional)[.\d]*$')  # hold what they run
_KINDS: Final = types.MappingProxyType({
  'conv_general_dilated': 'convolutions',
  'dot_general': 'matrix products',
})

_Event = Mapping[str, Any]  # of the profiler; microseconds


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
  for span, taken in _cores(_trace(call), os.cpu_count() or 1).items():
    spent[_kind(sources.get(span.name, ''))] += taken
  whole = sum(spent.values())
  return {kind: taken / whole for kind, taken in spent.most_common()}


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
  for then, change, span in sorted(changes, key=operator.itemgetter(0)):
    for each in running:
      spent[each] += then - now
    free = max(count - len(running), 0)
    for each in pooled:
      spent[each] += (then - now) * free / len(pooled)
    now = then
    change(span)
  return spent


def _trace(call: Callable[[], object]) -> list[Span]:
  """Returns the instructions that a call runs."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      call()
      time.sleep(_LATE)
    (path,) = pathlib.Path(folder).rglob('*.trace.json.gz')
    return _spans(json.loads(gzip.decompress(path.read_bytes()))['traceEvents'])


def _spans(events: Sequence[_Event]) -> list[Span]:
  """Returns the instructions in events of the profiler.

  Who finishes an instruction of the pool first runs what waited for it, in the
  same task, and notes the end of the one after that of the others.
  """
  timed = sorted(
    (e for e in events if 'dur' in e), key=operator.itemgetter('ts')
  )
  ran = [
    e for e in timed
    if 'hlo_op' in e.get('args', {}) and not _AROUND.match(e['args']['hlo_op'])
  ]  # fmt: skip
  ends: dict[str, list[_Event]] = collections.defaultdict(list)
  for event in timed:
    if event['name'].startswith(_END):
      ends[event['name'].removeprefix(_END)].append(event)
  begins, tasks = _times(ran), _times(e for e in timed if e['name'] == _TASK)
  spans = []
  for event in ran:
    name, returns = event['args']['hlo_op'], event['ts'] + event['dur']
    done = returns
    if ends[name]:  # in a loop the first is that of the first; GPUs note none
      end = ends[name].pop(0)
      thread, noted = end['tid'], end['ts']
      since = max(returns, _before(tasks[thread], noted))
      later = bisect.bisect_left(begins[thread], since)
      done = min([noted, *begins[thread][later : later + 1]])
    spans.append(Span(name, event['ts'], returns, max(done, returns)))
  return spans


def _times(events: Iterable[_Event]) -> Mapping[int, list[float]]:
  """Returns when they begin, in order, by thread."""
  found: dict[int, list[float]] = collections.defaultdict(list)
  for event in events:
    found[event['tid']].append(event['ts'])
  return found


def _before(times: Sequence[float], now: float) -> float:
  return times[at - 1] if (at := bisect.bisect_left(times, now)) else 0.0
