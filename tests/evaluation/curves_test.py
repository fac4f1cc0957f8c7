"""Names beside curves, and pictures that open."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from difjax.evaluation import curves, plots


@pytest.mark.parametrize(
  ('heights', 'wanted'),
  [
    ([], []),
    ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
    ([0.5, 0.55, 0.9], [0.5, 0.6, 0.9]),
    ([-0.2, 0.0], [0.0, 0.1]),
    ([0.97, 1.0], [0.9, 1.0]),
    ([0.8, 0.98, 0.99], [0.8, 0.9, 1.0]),
  ],
)
def test_names_keep_their_distance(heights, wanted):
  np.testing.assert_allclose(curves.apart(heights, 0.1), wanted)


def opened(content):
  with Image.open(io.BytesIO(content)) as picture:
    return np.asarray(picture.convert('L'), int)


LINES = {
  f'solver {i}': ((5, 10, 20), (1, 0.1**i, 0.01**i)) for i in range(1, 8)
}


def test_by_evaluations():
  found = opened(
    curves.by_evaluations(LINES, y='error', floor=('fine solution', 1e-9))
  )
  assert found.shape[1] == 1440
  few = opened(curves.by_evaluations({'a': ((5, 10), (1, 2))}, y='error'))
  assert few.shape[0] == 620 < found.shape[0] + 1


def test_what_is_not_finite_is_left_out():
  """A value that is not finite, or a curve of none, leaves no trace."""
  few = {'a': ((5, 10), (1, 2)), 'b': ((5, 10), (3, 4))}
  more = {
    'a': ((5, 7, 10), (1, np.nan, 2)), 'b': ((5, 10, 20), (3, 4, np.inf)),
    'c': ((5, 10), (np.nan, np.inf)),
  }  # fmt: skip
  assert curves.by_evaluations(few, y='e') == curves.by_evaluations(more, y='e')


def test_by_scale():
  found = opened(curves.by_scale((1, 2, 4), {
    'share': {'accuracy': (0.9, 0.95, 1.0), 'recall': (0.8, 0.5, 0.2)},
    'distance': {'samples': (2.0, 1.0, 3.0), 'training images': 0.5},
  }))  # fmt: skip
  assert found.shape == (580, 1440)
  for half in np.split(found, 2, axis=1):
    assert (half < 128).sum() > 500


def test_curves_by_step_leave_out_what_is_not_finite(monkeypatch):
  drawn = []
  finish = plots.finish
  monkeypatch.setattr(
    plots, 'finish', lambda canvas, axes: drawn.append(axes) or finish(
      canvas, axes)
  )  # fmt: skip
  steps = [10, 20, 30]
  png = curves.by_step(
    steps, {'a': [4.0, np.nan, 2.0], 'b': [np.nan] * 3, 'c': [1.0, 1.0, 1.0]},
    y='loss', log_y=True,
  )  # fmt: skip
  assert png.startswith(b'\x89PNG')
  (axes,) = drawn
  first, second = axes.get_lines()
  np.testing.assert_array_equal(first.get_xdata(), [10, 30])
  np.testing.assert_array_equal(first.get_ydata(), [4, 2])
  np.testing.assert_array_equal(second.get_ydata(), [1, 1, 1])
  assert [text.get_text() for text in axes.texts] == ['c', 'a']
  assert axes.get_yscale() == 'log'
