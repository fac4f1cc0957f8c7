"""What watches over a run: one object for the loop, made of four parts.

  with Supervision(...) as watch:
    with watch.during(Phase.RESTORE): ...
    for i, batch in watch.steps(batches):
      ...
      if watch.beat(i + 1): ...

Time is accounted (`events`), hangs end the process (`watchdog`), notices save
it (`preemption`), slow hosts are named (`stragglers`).
"""

from __future__ import annotations

import contextlib
import pathlib
import time
import types
from collections.abc import Iterator
from typing import Any

import jax

from difjax.training import events, preemption, stragglers, watchdog

Phase = events.Phase


class Supervision(contextlib.AbstractContextManager):
  """Watches over one attempt."""

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    patience: float | None,
    compare_every: int,
    began: float | None = None,
  ) -> None:
    """Begins the account.

    Args:
      workdir: of the run.
      patience: see `watchdog`.
      compare_every: steps between two comparisons of the processes.
      began: when the process did, by `time.time`; None: now.
    """
    rank = jax.process_index()
    self._account = events.Events(
      None if rank else workdir, time.time() if began is None else began
    )
    self._watchdog = watchdog.Watchdog(
      patience, workdir / f'stacks-{rank}.txt', self._left
    )
    self._notice = preemption.Preemption()
    self._comparison = stragglers.Comparison(compare_every)
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> Supervision:
    self._stack.enter_context(self._notice)
    self._stack.enter_context(self._watchdog)
    self._watchdog.allow(slow=True)
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    # A peer that is lost while a checkpoint is read or the last one written.
    preemption.Peers(self._left).__exit__(kind, error, trace)
    self._stack.close()
    self._left(_code(error))

  @contextlib.contextmanager
  def during(self, phase: Phase) -> Iterator[None]:
    """Accounts a block to a phase, with time to spare."""
    before = self._enter(phase, slow=True)
    try:
      yield
    finally:
      self._enter(before, slow=before is not Phase.STEP)

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    """Leaves at once where a block fails for want of a peer.

    What comes after the block is waiting for the last save.
    """
    try:
      with preemption.Peers(self._left):
        yield
    finally:
      self._enter(Phase.SAVE, slow=True)

  def steps(self, batches: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """Passes (step, batch) on; what is done with it is the step."""
    phase = Phase.COMPILE
    self._enter(Phase.DATA, slow=True)
    for step, batch in batches:
      if phase is Phase.COMPILE:
        self._account.step = step
        self._account.write('restored', {'from': step})
      self._enter(phase, slow=phase is Phase.COMPILE)
      yield step, batch
      phase = Phase.STEP
      self._enter(Phase.DATA, slow=False)

  def beat(self, done: int) -> bool:
    """Notes that a step is done; says whether to save it and leave."""
    self._account.beat(done)
    self._watchdog.beat(done)
    found = self._comparison.after(done, self._account.totals)
    if found is not None:
      self._account.write('hosts', {'slowest': str(found)})
    return self._notice.reached(done)

  def _enter(self, phase: Phase, *, slow: bool) -> Phase:
    self._watchdog.allow(slow)
    return self._account.enter(phase)

  def _left(self, code: int) -> None:
    self._account.write('exit', {'code': code})


def _code(error: BaseException | None) -> int:
  """Returns what the command line will make of an error."""
  if isinstance(error, KeyboardInterrupt):
    return 130
  return 0 if error is None else getattr(error, 'exit_code', 1)
