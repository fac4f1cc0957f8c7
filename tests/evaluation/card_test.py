"""Cards: what they say, how they are read, and what their comparison says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from difjax import errors
from difjax.evaluation import (
  card,
  compare,
  feature_nets,
  figures,
  image_set,
  published,
  references,
  scoring,
)
from tests.evaluation import drawn_sets

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (60, 6, 6, 3), np.uint8)
HOW = figures.Figures(subsets=3, subset=20, draws=0)


def judge(how=HOW, real=REAL):
  reference = references.of_images(image_set.of_array(real))
  return scoring.judge(feature_nets.Pixels(), reference, how)


@pytest.fixture
def samples(tmp_path):
  return drawn_sets.whole(
    tmp_path / 'set', sampler={'steps': 4}, quantiser='edm', parameters='abc'
  ).folder


def made(samples, out, **changes):
  return scoring.score(judge(**changes), image_set.read(samples), out)


def test_what_a_card_says(samples, tmp_path):
  made(samples, tmp_path / 'out')
  found = json.loads((tmp_path / 'out' / 'card.json').read_text())
  assert found['samples']['count'] == 23
  assert found['samples']['sha256'] == image_set.read(samples).fingerprint
  assert found['reference']['sha256'] == (
    image_set.of_array(REAL).fingerprint
  )
  assert found['network']['title'] == 'pixels'
  assert found['settings']['kernel'] == {
    'subsets': 3, 'subset': 20, 'seed': 2020
  }  # fmt: skip
  model = found['model']
  assert (model['sampler'], model['quantiser']) == ({'steps': 4}, 'edm')
  assert model['evaluations']['most'] == 3
  assert found['figures']['fd_pixels']['better'] == 'lower'
  assert {'date', 'versions', 'device'} <= set(found['environment'])
  page = (tmp_path / 'out' / 'card.html').read_text()
  for text in ('fd_pixels', 'sampler.steps', 'quantiser'):
    assert text in page


def test_of_images_of_another_tool(tmp_path):
  np.savez(tmp_path / 'a.npz', REAL[:30])
  made(tmp_path / 'a.npz', tmp_path)
  assert card.read(tmp_path)['model'] == {}
  assert 'not made by difjax' in (tmp_path / 'card.html').read_text()


def test_what_is_done_is_not_done_again(samples, tmp_path, monkeypatch):
  out = tmp_path / 'out'
  first = made(samples, out)
  monkeypatch.setattr(figures, 'gather', None)
  assert made(samples, out) == first
  with pytest.raises(errors.ConfigError, match='of another protocol'):
    made(samples, out, how=figures.Figures(subsets=4, subset=20, draws=0))


@pytest.mark.parametrize(
  ('content', 'match'),
  [
    ('', 'cannot be read'),
    ('{"schema":', 'cannot be read'),
    ('[]', 'holds no config'),
    ('{}', 'no card of schema 1'),
    ('{"schema": 2}', 'no card of schema 1'),
    ('{"schema": 1}', 'lacks figures'),
  ],
)
def test_malformed_cards(content, match, tmp_path):
  (tmp_path / 'card.json').write_text(content)
  with pytest.raises(errors.DataError, match=match) as caught:
    card.read(tmp_path)
  assert '\n' not in str(caught.value)


def test_a_card_with_a_figure_that_is_none(samples, tmp_path):
  content = dict(made(samples, None))
  content['figures'] = {'fid': {'value': 'low'}}
  (tmp_path / 'card.json').write_text(json.dumps(content))
  with pytest.raises(errors.DataError, match='a figure without value'):
    card.read(tmp_path)


def test_no_card(tmp_path):
  with pytest.raises(errors.DataError, match='is not there'):
    card.read(tmp_path)


def test_a_figure_that_is_no_number(samples):
  told = made(samples, None)
  bad = figures.Figure(value=math.nan, better='lower', depends=())
  with pytest.raises(errors.NonFiniteError, match='fid is nan'):
    card.fill(told, figures.Found({'fid': bad}, {}))


def changed(content, **leaves):
  content = json.loads(json.dumps(content))
  for path, value in leaves.items():
    *keys, last = path.split('__')
    part = content
    for key in keys:
      part = part[key]
    part[last] = value
  return content


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
  assert ('B is better' in rows['fd_pixels']) == (barred != 'all')


def test_better_is_lower_or_higher(samples):
  a = made(samples, None)
  b = changed(
    a, figures__fd_pixels__value=1e9, figures__precision__value=2.0
  )
  lines = compare.text(a, b, ('one', 'two')).splitlines()
  rows = {line.split()[0]: line for line in lines if line}
  assert rows['fd_pixels'].endswith('A is better')
  assert rows['precision'].endswith('B is better')
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


PAPER = published.Published(
  figures={'fd_pixels': 1.0}, source='a paper', count=23, reference_count=60,
  spread={'fd_pixels': (0.9, 1.2)}, convention='tensorflow',
)  # fmt: skip


def row(samples, value, **leaves):
  same = {'network__published_weights': True,
          'network__convention': 'tensorflow'}  # fmt: skip
  content = changed(made(samples, None), **same | leaves)
  content['figures']['fd_pixels']['value'] = value
  return content


@pytest.mark.parametrize(
  ('value', 'said'),
  [(0.8, 'below the'), (0.9, 'within the'), (1.2, 'within the'),
   (1.3, 'above the')],
)  # fmt: skip
def test_a_row_of_the_same_protocol(value, said, samples):
  ours = row(samples, value)
  assert published.differences(PAPER, ours) == []
  assert said in published.verdict(PAPER, ours, 'fd_pixels')


@pytest.mark.parametrize(
  ('leaves', 'line'),
  [
    ({'samples__count': 8}, 'images: published 23, here 8'),
    ({'network__published_weights': False}, 'published True, here False'),
    ({'network__convention': 'clean-fid'}, 'tensorflow, here clean-fid'),
    ({'reference__count': None}, 'reference: published 60, here unknown'),
    ({'model__quantiser': 'adm'}, 'quantiser: published edm, here adm'),
    ({'model__guidance': {'x': 1}}, 'guidance: published False, here True'),
  ],
)
def test_a_row_of_another_protocol(leaves, line, samples):
  text = published.text(PAPER, row(samples, 1.0, **leaves))
  assert 'cannot be said: the protocol is another' in text
  assert line in text


def test_a_row_without_a_spread(samples):
  bare = published.Published(
    figures={'fd_pixels': 1.0, 'fid': 2.0}, source='a paper', count=23
  )
  ours = row(samples, 1.0)
  assert 'no spread' in published.verdict(bare, ours, 'fd_pixels')
  assert 'not measured here' in published.verdict(bare, ours, 'fid')
