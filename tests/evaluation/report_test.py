"""The report as a browser would parse it."""

import base64
from html import parser

import numpy as np
import pytest

from difjax.evaluation import distribution, plots, report

PNG = plots.png(np.zeros((20, 40, 3), np.uint8))
EVIL = '<script>alert("&")</script>'
VOID = {'meta', 'img'}


class Page(parser.HTMLParser):
  """Collects elements and text, and insists that tags are balanced."""

  def __init__(self, document):
    super().__init__()
    self.elements, self.text, self.open = [], [], []
    self.feed(document)
    assert not self.open

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)

  def all(self, tag):
    return [attributes for name, attributes in self.elements if name == tag]


def check(value):
  return distribution.Check(criterion='Precision', value=value, threshold=0.5)


def page(*sections, facts=None, title='Title'):
  return Page(report.render(title, 'Subtitle', sections, facts or {}))


def test_everything_that_was_given_is_on_the_page():
  got = page(
    report.Section(
      title='Some figures',
      text='Words.',
      checks=(check(0.6), check(0.4)),
      table=report.Table(header=('set', 'mean'), rows=(('ours', '1.5'),)),
      figures=(report.Figure(png=PNG, caption='Seen.', alt='Black.'),),
      caption='So it is.',
      details=(report.Details(summary='Config', text='a: 1'),),
    ),
    facts={'steps': '9,000'},
  )
  text = ' '.join(got.text)
  for words in ('Title', 'Subtitle', 'Words.', 'ours', '1.5', 'Seen.', '9,000'):
    assert words in text
  for words in ('So it is.', 'Config', 'a: 1', '1 of 2 criteria are met.'):
    assert words in text
  assert [a['class'] for a in got.all('li')] == ['ok', 'bad']
  assert 'passed' in text and 'failed' in text


def test_the_picture_is_inside_and_of_known_size():
  (image,) = page(
    report.Section(
      title='A', figures=(report.Figure(png=PNG, caption='', alt='Black.'),)
    )
  ).all('img')
  kind, data = image['src'].split(',')
  assert kind == 'data:image/png;base64'
  assert base64.b64decode(data) == PNG
  assert (image['width'], image['height']) == ('20', '10')
  assert image['alt'] == 'Black.'


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    ({}, ('', '20', '10')),
    ({'width': 400}, ('pixels', '400', '200')),
    ({'curves': True}, ('curves', '20', '10')),
  ],
)
def test_enlarged_pictures_keep_their_pixels_square(options, expected):
  figure = report.Figure(png=PNG, caption='', alt='', **options)
  (image,) = page(report.Section(title='A', figures=(figure,))).all('img')
  assert (image['class'], image['width'], image['height']) == expected


def test_all_text_is_escaped():
  got = page(
    report.Section(
      title=EVIL,
      text=EVIL,
      checks=(distribution.Check(criterion=EVIL, value=1, threshold=0),),
      table=report.Table(header=(EVIL, EVIL), rows=((EVIL, EVIL),)),
      figures=(report.Figure(png=PNG, caption=EVIL, alt=EVIL),),
      caption=EVIL,
      details=(report.Details(summary=EVIL, text=EVIL),),
    ),
    facts={EVIL: EVIL},
    title=EVIL,
  )
  assert not got.all('script')
  assert got.text.count(EVIL) >= 12
  assert got.all('img')[0]['alt'] == EVIL


def test_nothing_is_fetched():
  document = report.render('A', '', [report.Section(title='B')], {})
  assert 'http' not in document
  assert 'url(' not in document
  assert '@import' not in document
  assert not Page(document).all('link') + Page(document).all('script')


def test_every_link_of_the_contents_leads_somewhere():
  got = page(*(report.Section(title=t) for t in ('One & two', 'Three?')))
  anchors = {f'#{attributes["id"]}' for attributes in got.all('section')}
  assert {attributes['href'] for attributes in got.all('a')} == anchors
  assert len(anchors) == 2


def test_the_judged_samples_stand_out():
  row = distribution.Row(name='samples', label_accuracy=1, nearest_ratio=1)
  judgement = distribution.Judgement(
    rows=(row, row), checks=(check(1),), count=9, features='pixels'
  )
  got = page(report.judged(judgement, title='Quality'))
  assert [a.get('class') for a in got.all('tr')] == [None, 'strong', None]
  assert any('9 held-out' in text for text in got.text)


def test_written_as_utf8(tmp_path):
  path = tmp_path / 'report.html'
  report.write(path, report.render('Fréchet λ', '', [], {}))
  assert 'Fréchet λ' in path.read_text(encoding='utf-8')
