"""When a run saves."""

from __future__ import annotations

import jax
import pytest

from difjax import training
from difjax.training import cadence, distributed


class Clock:
  """A clock that a test moves."""

  def __init__(self):
    self.seconds = 0.0

  def __call__(self):
    return self.seconds


def due(options, steps, per_step, monkeypatch=None):
  """Lists the steps after which a run of so many seconds a step saves."""
  clock = Clock()
  ask = cadence.Cadence(options, steps, clock)
  found = []
  for done in range(1, steps + 1):
    clock.seconds += per_step
    if ask(done):
      found.append(done)
  return found


@pytest.mark.parametrize(
  ('options', 'per_step', 'expected'),
  [
    (dict(every=4), 100, [4, 8, 10]),
    (dict(every=5), 100, [5, 10]),
    (dict(every=100), 100, [10]),
    (dict(every=100, minutes=5), 100, [3, 6, 9, 10]),
    (dict(every=4, minutes=5), 100, [3, 4, 7, 8, 10]),
    (dict(every=100, minutes=0.5), 100, list(range(1, 11))),
    (dict(every=100, minutes=1e6), 100, [10]),
  ],
)
def test_steps_minutes_and_the_end(options, per_step, expected):
  assert due(training.Checkpoints(**options), 10, per_step) == expected


def test_a_process_does_what_the_first_one_says(monkeypatch):
  """Its own clock says no, and then yes too early; nobody asks between."""
  said = {20: 0, 40: 1, 60: 0, 80: 1}
  asked = []

  def from_first(number):
    asked.append(number)
    return list(said.values())[len(asked) - 1]

  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(distributed, 'from_first', from_first)
  options = training.Checkpoints(every=1000, minutes=1)
  assert due(options, 90, per_step=0) == [40, 80, 90]
  assert len(asked) == 4
