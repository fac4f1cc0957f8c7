"""A comparison says what differs, and calls winners where it may."""

from __future__ import annotations

import pytest

from difjax.evaluation import compare
from tests.evaluation import small_cards
from tests.evaluation.small_cards import changed, made


@pytest.fixture
def samples(tmp_path):
  return small_cards.samples(tmp_path / 'set')


@pytest.mark.parametrize(
  ('leaves', 'kind', 'barred'),
  [
    ({'network__zero': [1]}, 'incomparable', 'all'),
    ({'samples__count': 9}, 'incomparable', 'all'),
    ({'reference__sha256': 'x'}, 'incomparable', 'all'),
    ({'reference__count': 9}, 'incomparable', 'all'),
    ({'settings__kernel__seed': 9}, 'incomparable', 'kd_pixels'),
    ({'settings__overlap__images': 9}, 'incomparable', 'precision'),
    ({'model__sampler__steps': 9}, 'compared', None),
    ({'model__quantiser': 'adm'}, 'compared', None),
    ({'samples__sha256': 'x'}, 'compared', None),
    ({'samples__path': 'x'}, 'other', None),
    ({'environment__date': 'x'}, 'other', None),
  ],
)
def test_what_differs(leaves, kind, barred, samples):
  a = made(samples, None)
  b = changed(a, **leaves, figures__fd_pixels__value=0.0)
  found = compare.compare(a, b)
  (path,) = (name.replace('__', '.') for name in leaves)
  assert [line[0] for line in getattr(found, kind)] == [path]
  total = found.incomparable + found.compared + found.other
  assert len(total) == 1
  text = compare.text(a, b, ('one', 'two'))
  rows = {line.split()[0]: line for line in text.splitlines() if line}
  assert text.index(path) < text.index('figure  ')
  for name in ('fd_pixels', 'kd_pixels', 'precision'):
    assert ('not comparable' in rows[name]) == (barred in ('all', name))
  assert ('B is lower' in rows['fd_pixels']) == (barred != 'all')


def test_without_an_interval_nothing_is_better(samples):
  a = made(samples, None)
  b = changed(
    a, figures__fd_pixels__value=1e9, figures__precision__value=2.0
  )
  lines = compare.text(a, b, ('one', 'two')).splitlines()
  rows = {line.split()[0]: line for line in lines if line}
  assert rows['fd_pixels'].endswith('A is lower (no interval)')
  assert rows['precision'].endswith('B is higher (no interval)')
  assert 'nothing differs in the protocols' in lines


def test_intervals_that_overlap_have_no_winner(samples):
  limit = {'better': 'lower', 'depends': [], 'value': 1.0}
  with_limit = lambda **ends: changed(
    made(samples, None), figures__fid_infinity={**limit, **ends}
  )
  a, b = with_limit(low=0.0, high=2.0), with_limit(value=3.0, low=1.9, high=4.0)
  assert 'within the intervals' in compare.text(a, b, ('a', 'b'))
  b = with_limit(value=3.0, low=2.1, high=4.0)
  assert 'A is better' in compare.text(a, b, ('a', 'b'))


@pytest.mark.parametrize('seed', ['model__seed', 'model__first'])
def test_another_seed_alone_is_chance(seed, samples):
  a = changed(made(samples, None), model__first=0)
  worse = {'samples__sha256': 'x', 'figures__fd_pixels__value': 1e9}
  b = changed(a, **{seed: 9}, **worse)
  text = compare.text(a, b, ('a', 'b'))
  assert 'chance' in text and 'is lower' not in text and 'better' not in text
  b = changed(a, **{seed: 9}, model__sampler__steps=9, **worse)
  assert 'chance' not in compare.text(a, b, ('a', 'b'))


@pytest.mark.parametrize(
  ('leaves', 'verdict'),
  [
    ({'low': 1.9, 'high': 4.0}, 'within the intervals, by fd_pixels_infinity'),
    ({'low': 2.1, 'high': 4.0}, 'A is better, by fd_pixels_infinity'),
    ({}, 'A is lower (no interval)'),
  ],
)
def test_the_limit_has_the_interval(leaves, verdict, samples):
  limit = {'better': 'lower', 'depends': ['settings.limit']}
  card = made(samples, None)
  a = changed(card, figures__fd_pixels_infinity={
    **limit, 'value': 1.0, 'low': 0.0, 'high': 2.0
  })  # fmt: skip
  b = changed(card, figures__fd_pixels__value=1e9)
  if leaves:
    b['figures']['fd_pixels_infinity'] = {**limit, 'value': 3.0, **leaves}
  rows = compare.text(a, b, ('a', 'b')).splitlines()
  (row,) = (row for row in rows if row.startswith('fd_pixels '))
  assert row.endswith(verdict)
  b['settings']['limit']['draws'] = 99
  rows = compare.text(a, b, ('a', 'b')).splitlines()
  (row,) = (row for row in rows if row.startswith('fd_pixels '))
  assert row.endswith('A is lower (no interval)')


def test_what_the_parts_of_a_set_vary_by_is_no_difference(samples):
  kernel = lambda value: changed(
    made(samples, None), figures__kid={
      'value': value, 'std': 0.5, 'better': 'lower', 'depends': []
    },
  )  # fmt: skip
  near = compare.text(kernel(1.0), kernel(1.4), ('a', 'b'))
  assert 'within the deviation' in near
  far = compare.text(kernel(1.0), kernel(1.6), ('a', 'b'))
  assert 'kid        1' in far and far.count('A is better') == 1
