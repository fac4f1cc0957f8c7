"""Where the time of a compiled function goes, by kind of operation.

XLA's profiler notes when each instruction runs; the compiled program says which
operation of ours an instruction came from, and whether of its gradient.
"""

from __future__ import annotations

import collections
import gzip
import json
import pathlib
import re
import tempfile
import types
from collections.abc import Callable
from typing import Final

import jax

# name = ... metadata={op_name="jit(f)/transpose(jvp(net))/.../dot_general" ...
_INSTRUCTION = re.compile(r'%?(\S+) = .*metadata=\{op_name="([^"]+)"')
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
    the time that all instructions took, the greatest first.
  """
  sources = dict(
    found.groups()
    for line in compiled.as_text().splitlines()
    if (found := _INSTRUCTION.search(line))
  )
  spent: collections.Counter[str] = collections.Counter()
  for instruction, duration in _trace(call):
    if not _AROUND.match(instruction):
      spent[_kind(sources.get(instruction, ''))] += duration
  whole = sum(spent.values())
  return {kind: time / whole for kind, time in spent.most_common()}


def _kind(source: str) -> str:
  kind = _KINDS.get(source.rpartition('/')[2], 'the rest')
  return f'{kind}, {"backward" if "transpose(" in source else "forward"}'


def _trace(call: Callable[[], object]) -> list[tuple[str, float]]:
  """Returns the instructions that a call runs, and how long each takes."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      call()
    (path,) = pathlib.Path(folder).rglob('*.trace.json.gz')
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
  return [
    (event['args']['hlo_op'], event['dur'])
    for event in events
    if 'hlo_op' in event.get('args', {}) and 'dur' in event
  ]
