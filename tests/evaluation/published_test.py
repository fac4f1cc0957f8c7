"""Published rows: met, missed, or not to be compared."""

from __future__ import annotations

import pytest

from difjax.evaluation import published
from tests.evaluation import small_cards
from tests.evaluation.small_cards import changed, made

PAPER = published.Published(
  figures={'fd_pixels': 1.0}, source='a paper', count=23, reference_count=60,
  spread={'fd_pixels': (0.9, 1.2)}, convention='tensorflow',
  sampler={'steps': 4},
)  # fmt: skip


@pytest.fixture
def samples(tmp_path):
  return small_cards.samples(tmp_path / 'set')


def row(samples, value, **leaves):
  same = {'network__published_weights': True, 'model__ema': 'main',
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
    ({'reference__count': 50}, 'reference: published 60, here 50'),
    ({'model__ema': ''}, 'ema: published main, here none'),
    ({'model__sampler': {'steps': 5}}, 'sampler.steps: published 4, here 5'),
    ({'model__sampler': {'steps': 4, 'x': 1}},
     'sampler.x: published nothing, here 1'),
    ({'model__quantiser': 'adm'}, 'quantiser: published edm, here adm'),
    ({'model__guidance': {'x': 1}}, 'guidance: published False, here True'),
  ],
)  # fmt: skip
def test_a_row_of_another_protocol(leaves, line, samples):
  text = published.text(PAPER, row(samples, 1.0, **leaves))
  assert 'cannot be said: the protocol is another' in text
  assert line in text


def test_what_is_not_known_is_said_and_bars_nothing(samples):
  """As of statistics that do not say how many images they are of."""
  text = published.text(PAPER, row(samples, 1.0, reference__count=None))
  assert 'within the stated spread' in text
  assert 'differences in protocol: none known' in text
  assert 'images of the reference: published 60, here unknown' in text


def test_a_row_without_a_spread(samples):
  bare = published.Published(
    figures={'fd_pixels': 1.0, 'fid': 2.0}, source='a paper', count=23
  )
  ours = row(samples, 1.0)
  assert 'no spread' in published.verdict(bare, ours, 'fd_pixels')
  assert 'not measured here' in published.verdict(bare, ours, 'fid')
