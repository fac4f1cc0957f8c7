"""The page of pictures, of a network that is known in closed form."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from difjax import data
from difjax.evaluation import gallery
from tests import tiny
from tests.evaluation import study_test

GALLERY = gallery.Gallery(
  held_out=data.Digits(split='test'), sampler=study_test.sampler(2),
  sections=(study_test.Words(),), title='Seen', images=12,
)  # fmt: skip


@pytest.mark.parametrize('num_classes', [0, 10])
def test_the_page_shows_samples_and_sections(tmp_path, num_classes):
  model = dataclasses.replace(study_test.MODEL, num_classes=num_classes)
  with tiny.quick_compilation():
    path = GALLERY.write(model, tmp_path)
  page = (tmp_path / 'report.html').read_text()
  assert path == str(tmp_path / 'report.html')
  assert '<h1>Seen</h1>' in page
  assert 'The first 12 samples, none left out; 2 evaluations each.' in page
  assert '20 steps, ' in page and 'Words of its own' in page
  with Image.open(tmp_path / 'report' / 'samples.png') as picture:
    wide, high = picture.size
  assert wide > 8 / 2 * 0.9 * high  # two rows of at most eight
