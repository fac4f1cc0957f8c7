"""Which host the others wait for.

In a synchronous step every process takes the time of the slowest, so walls tell
nothing. What tells is the time that a process spends outside of the step: its
data, its hooks, its own Python. Every so many steps the processes exchange
these numbers, and the first one names the host that needs most.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import statistics
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from difjax.training import events

Phase = events.Phase
_LOG = logging.getLogger(__name__)
_RATIO, _SHARE = 1.5, 0.1  # of the median; of the step: what is worth a word
_ROW = np.dtype([
  ('own', np.float64), ('data', np.float64), ('wall', np.float64),
  ('host', 'S64'),
])  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
  """Seconds a step of one process.

  Attributes:
    own: outside of the compiled step.
    data: of these, waiting for batches.
    wall: in all.
    host: where the process runs.
  """

  own: float
  data: float
  wall: float
  host: str = dataclasses.field(default_factory=socket.gethostname)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Straggler:
  """The process with the most time of its own.

  Attributes:
    rank: its number.
    pace: its times.
    median: the (lower) median of all processes' own time.
  """

  rank: int
  pace: Pace
  median: float

  @property
  def ratio(self) -> float:
    """Its own time over the median."""
    return self.pace.own / max(self.median, 1e-9)

  @property
  def matters(self) -> bool:
    """Whether the others wait for it for a tenth of their time."""
    lead = self.pace.own - self.median
    return self.ratio > _RATIO and lead > _SHARE * self.pace.wall

  def __str__(self) -> str:
    return (
      f'rank {self.rank} on {self.pace.host} is the slowest: '
      f'{1e3 * self.pace.own:.0f} ms a step outside of the compiled one '
      f'(data {1e3 * self.pace.data:.0f} ms), {self.ratio:.1f} times the '
      f'median, of {1e3 * self.pace.wall:.0f} ms in all'
    )


def slowest(paces: Sequence[Pace]) -> Straggler:
  """Finds the process that the others wait for; paces stand by rank."""
  own = [pace.own for pace in paces]
  rank = int(np.argmax(own))
  median = statistics.median_low(own)
  return Straggler(rank=rank, pace=paces[rank], median=median)


def gathered(pace: Pace) -> list[Pace]:
  """Returns the paces of all processes; each of them must call this."""
  row = np.array([(pace.own, pace.data, pace.wall, pace.host)], _ROW)
  # As bytes: gathering casts doubles, and knows no strings.
  every = multihost_utils.process_allgather(row.view(np.uint8))
  return [
    Pace(own=own, data=data, wall=wall, host=host.decode())
    for own, data, wall, host in np.asarray(every).reshape(-1).view(_ROW)
    .tolist()
  ]


class Comparison:
  """Exchanges paces every so many steps, from accounts of `events`."""

  def __init__(self, every: int) -> None:
    self._every = every
    self._last: tuple[int, Mapping[Phase, float]] | None = None

  def after(
    self, done: int, totals: Mapping[Phase, float]
  ) -> Straggler | None:
    """Compares where it is time to, and warns if somebody is waited for.

    Args:
      done: steps; all processes ask after each.
      totals: seconds by phase since the process began.
    """
    if jax.process_count() == 1:
      return None
    before, now = self._last, (done, dict(totals))
    if before is None:  # the first step compiles
      self._last = now
    if before is None or done % self._every:
      return None
    self._last = now
    found = slowest(gathered(_pace(before, now)))
    if found.matters and not jax.process_index():
      _LOG.warning('%s', found)
    return found


def _pace(
  before: tuple[int, Mapping[Phase, float]],
  now: tuple[int, Mapping[Phase, float]],
) -> Pace:
  steps = now[0] - before[0]
  data, hooks, step = (
    (now[1][phase] - before[1][phase]) / steps
    for phase in (Phase.DATA, Phase.HOOKS, Phase.STEP)
  )
  return Pace(own=data + hooks, data=data, wall=data + hooks + step)
