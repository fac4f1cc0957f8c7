"""Sections of controlled generation, as a study shows them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from difjax import data, denoising
from difjax.evaluation import baselines, controlled, report, sections
from difjax.evaluation import trained as runs
from tests import tiny
from tests.evaluation import controlled_test
from tests.evaluation.controlled_test import MODEL, SAMPLER, run  # noqa: F401

DIGITS = data.Digits(split='test').take(np.arange(8))
HELD_OUT = baselines.Labelled(DIGITS['image'], DIGITS['label'])


@pytest.fixture
def drawn():
  """Figures that were drawn, by name."""
  return {}


@pytest.fixture
def draw(drawn):
  def keep(name, png, caption):
    drawn[name] = png
    return report.Figure(png=png, caption=caption, alt=caption)

  return keep


def check_panel(png, rows, columns):
  """There is room for so many digits and their names, and for no more."""
  with Image.open(io.BytesIO(png)) as picture:
    wide, high = picture.size
  cell = 12 * 8 + 6  # digits at twelve times their size, and a gap
  assert rows * cell - 6 <= high < (rows + 1) * cell
  assert columns * cell - 6 <= wide < (columns + 1) * cell


def test_restored_images(draw, drawn):
  made = sections.RestorationSection(
    sampler=SAMPLER, images=2, samples=3,
    operators={
      'inpainting': denoising.Window(),
      'super-resolution': denoising.AveragePool(factor=2),
      'colourisation': denoising.Grey(),  # of grey digits: left out
      'thirds': denoising.AveragePool(factor=3),  # nor does this fit
    },
  )  # fmt: skip
  with tiny.quick_compilation():
    section = made(MODEL, HELD_OUT, draw)
  assert set(drawn) == {'inpainting', 'super_resolution'}
  assert len(section.figures) == 2
  assert section.figures[0].caption.startswith('Inpainting of held-out images')
  for png in drawn.values():
    check_panel(png, rows=2, columns=5)


def test_guided_to_a_class(draw, drawn, run, monkeypatch):  # noqa: F811
  load = runs.load
  monkeypatch.setattr(
    runs, 'load', lambda path, **k: load(path, **{**k, 'trust': ('tests',)})
  )
  made = sections.GuidanceSection(
    sampler=SAMPLER, samples=2, scales=(0.0, 20.0),
    guidance=controlled.ClassifierGuidance(workdir=str(run)),
  )  # fmt: skip
  with tiny.quick_compilation():
    section = made(MODEL, HELD_OUT, draw)
  (figure,) = section.figures
  check_panel(drawn['guidance'], rows=10, columns=4)
  at_zero, at_twenty = (
    float(text.split('%')[0].split()[-1])
    for text in figure.caption.split(' in ')[-1].split(', ')
  )
  assert at_twenty > at_zero
  assert controlled_test.MODEL.num_classes == 0  # the classifier's are used
