"""Cards: what they say, how they are read, and when they are not made anew."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from difjax import errors
from difjax.evaluation import card, figures, gathered, image_set
from tests.evaluation import small_cards
from tests.evaluation.small_cards import REAL, made


@pytest.fixture
def samples(tmp_path):
  return small_cards.samples(tmp_path / 'set')


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
  monkeypatch.setattr(gathered, 'gather', None)
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


def test_a_card_by_statistics_is_not_one_by_images(samples):
  """The former lacks figures of the latter, such as the kernel distance."""
  told = made(samples, None)
  assert card.same(told, small_cards.changed(
    told, reference__path='x', samples__path='x', samples__kind='x'
  ))  # fmt: skip
  other = small_cards.changed(told, reference__kind='statistics')
  assert not card.same(told, other)


@pytest.mark.parametrize('value', ['low', math.nan, math.inf, True, None])
@pytest.mark.parametrize('key', ['value', 'std', 'low'])
def test_a_card_with_a_figure_that_is_none(key, value, samples, tmp_path):
  content = dict(made(samples, None))
  good = {'value': 1.0, 'better': 'lower', 'depends': []}
  content['figures'] = {'fid': {**good, key: value}}
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
