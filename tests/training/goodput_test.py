"""Where the time went: two attempts added up by hand."""

from __future__ import annotations

import math

import pytest

from difjax import errors
from difjax.training import goodput


def row(time, event, step, seconds, **others):
  return {
    'time': time, 'event': event, 'step': step, 'seconds': seconds, **others
  }  # fmt: skip


# Ten seconds of start, then a step a second; saved at 4, killed after 9.
KILLED = [
  row(110, 'start', 0, {'init': 10}, began=100),
  row(112, 'restored', 0, {'restore': 2}, **{'from': 0}),
  row(117, 'steps', 1, {'compile': 5}),
  row(120, 'steps', 4, {'step': 2.5, 'data': 0.5}, bins={'0': 3}),
  row(126, 'steps', 9, {'step': 5, 'save': 1}, bins={'0': 4, '14': 1}),
]
RESUMED = [
  row(137, 'start', 0, {'init': 6}, began=131),
  row(138, 'restored', 4, {'restore': 1}, **{'from': 4}),
  row(140, 'steps', 5, {'compile': 2}),
  row(147, 'exit', 10, {'step': 6, 'hooks': 1}, code=0, bins={'0': 5}),
]


def test_a_run_that_was_killed():
  found = goodput.measure(KILLED + RESUMED)
  assert found.wall == 47
  assert found.parts == {
    'productive': 2.5 + 6, 'wasted': 5, 'down': 5, 'init': 16, 'restore': 3,
    'compile': 7, 'data': 0.5, 'save': 1, 'hooks': 1,
  }  # fmt: skip
  assert found.remainder == 0
  assert found.steps == 10
  assert found.wasted_steps == 5
  assert found.exits == (None, 0)
  assert found.share == 8.5 / 47
  assert found.save_share == 1 / 13.5
  assert found.p50 == 1.0
  assert math.isclose(found.p99, 1.05**14)


def test_a_row_may_be_wasted_in_part():
  """From 6 on: of the steps 5 to 9 three are done again."""
  later = [RESUMED[0], {**RESUMED[1], 'step': 6, 'from': 6}, *RESUMED[2:]]
  later[2:] = [{**row, 'step': row['step'] + 2} for row in later[2:]]
  found = goodput.measure(KILLED + later)
  assert found.wasted_steps == 3
  assert found.parts['wasted'] == pytest.approx(3)
  assert found.parts['productive'] == pytest.approx(2.5 + 2 + 6)


def test_an_attempt_that_restored_nothing_wastes_nothing():
  """The second is killed while it starts, the third goes on from 4."""
  second = [{**RESUMED[0], 'time': 128, 'began': 127, 'seconds': {'init': 1}}]
  found = goodput.measure(KILLED + second + RESUMED)
  assert found.wasted_steps == 5
  assert found.exits == (None, None, 0)
  assert found.parts['down'] == 1 + 3
  assert found.remainder == 0


def test_a_rollback_wastes_what_two_attempts_did():
  third = [
    row(150, 'start', 0, {'init': 3}, began=147),
    row(150, 'restored', 2, {}, **{'from': 2}),
    row(151, 'exit', 3, {'step': 1}, code=42),
  ]
  found = goodput.measure(KILLED + RESUMED + third)
  assert found.steps == 3
  assert found.wasted_steps == 2 + 5 + 6  # of 4, of 9, of 10


def test_what_no_row_explains_is_said():
  rows = [KILLED[0], {**KILLED[1], 'time': 114}]
  found = goodput.measure(rows)
  assert found.remainder == 2
  assert 'remainder          2.00 s' in goodput.text(found)


def test_no_attempt_is_refused():
  with pytest.raises(errors.DataError, match='nothing was trained'):
    goodput.measure(KILLED[1:])


def test_the_lines_name_every_part():
  lines = goodput.text(goodput.measure(KILLED + RESUMED)).splitlines()
  assert lines[0] == 'productive 18.1% of 47.0 s'
  assert lines[1] == 'steps      10, 5 more were done again'
  assert lines[2] == 'attempts   2, exit codes killed, 0'
  shares = [float(line.split()[-1].rstrip('%')) for line in lines[6:]]
  assert sum(shares) == pytest.approx(100, abs=0.5)
