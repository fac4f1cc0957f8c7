"""The host that the others wait for."""

from __future__ import annotations

import pytest

from difjax.training import events, stragglers

Phase = events.Phase


def pace(own, wall=1.0, host='here'):
  return stragglers.Pace(own=own, data=own / 2, wall=wall, host=host)


def test_the_slowest_is_named_with_its_share():
  paces = [pace(0.01), pace(0.01), pace(0.31, host='tpu-7'), pace(0.02)]
  found = stragglers.slowest(paces)
  assert found.rank == 2
  assert found.median == 0.01
  assert found.ratio == pytest.approx(31)
  assert found.matters
  assert 'rank 2 on tpu-7' in str(found)
  assert '310 ms' in str(found)
  assert '31.0 times the median' in str(found)


def test_of_two_the_other_is_the_median():
  found = stragglers.slowest([pace(0.3), pace(0.01)])
  assert (found.rank, found.median) == (0, 0.01)


@pytest.mark.parametrize(
  'own', [[0.30, 0.31, 0.32], [0.001, 0.09, 0.001]], ids=['alike', 'small']
)
def test_what_costs_little_is_not_said(own):
  assert not stragglers.slowest([pace(x) for x in own]).matters


def test_the_times_are_those_since_the_last_comparison(monkeypatch):
  """Two processes; what the first of them tells is looked at."""
  told = []

  def gathered(mine):
    told.append(mine)
    return [mine, pace(0.0)]

  monkeypatch.setattr(stragglers.jax, 'process_count', lambda: 2)
  monkeypatch.setattr(stragglers, 'gathered', gathered)
  comparison = stragglers.Comparison(every=10)
  totals = dict.fromkeys(Phase, 100.0)  # what came before the first step
  assert comparison.after(1, totals) is None
  totals |= {Phase.DATA: 101.8, Phase.HOOKS: 100.9, Phase.STEP: 104.5}
  assert comparison.after(9, totals) is None
  first = comparison.after(10, totals)
  assert (told[0].data, told[0].own, told[0].wall) == pytest.approx(
    (0.2, 0.3, 0.8)
  )
  assert first.matters
  totals[Phase.STEP] += 5
  comparison.after(20, totals)
  assert (told[1].own, told[1].wall) == pytest.approx((0.0, 0.5))


def test_a_process_alone_compares_nothing():
  comparison = stragglers.Comparison(every=1)
  totals = dict.fromkeys(Phase, 1.0)
  assert comparison.after(1, totals) is comparison.after(2, totals) is None


def test_gathering_keeps_numbers_and_names():
  given = pace(1 / 3, wall=1e-9, host='a-host')
  assert stragglers.gathered(given) == [given]
