"""Figures as records, lines and rows, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from difjax.evaluation import timings

TIME = timings.Figure(
  name='a step', unit='ms', ours=(10.0, 20.0, 40.0), beside='theirs',
  theirs=(15.0, 20.0, 30.0),
)  # fmt: skip


def test_a_time_is_better_the_less_of_it():
  record = TIME.record()
  assert record['ours'] == {
    'median': 20.0, 'range': [10.0, 40.0], 'rounds': [10.0, 20.0, 40.0]
  }  # fmt: skip
  assert record['ratio']['rounds'] == [1.5, 1.0, 0.75]
  assert record['ratio']['median'] == 1.0
  assert timings.line(record) == (
    'a step: 20.0 ms; theirs: 20.0 ms; x 1.00 (0.750 to 1.50)'
  )
  assert timings.row(record) == (
    '| a step | 20.0 ms | theirs: 20.0 ms | 1.00 (0.750 to 1.50) |'
  )


def test_a_rate_is_better_the_more_of_it():
  figure = timings.Figure(
    name='images', unit='images/s', rate=True, ours=np.array([3e3, 999.96]),
    beside='theirs', theirs=np.array([2e3, 2e3]), note='beside other work',
  )  # fmt: skip
  record = json.loads(json.dumps(figure.record(), allow_nan=False))
  assert record['ratio']['rounds'] == pytest.approx([1.5, 0.49998])
  assert record['ours']['range'] == [999.96, 3000]
  assert timings.row(record) == (
    '| images | 2,000 images/s | theirs: 2,000 images/s; beside other work | '
    '1.00 (0.500 to 1.50) |'
  )


def test_what_stands_alone_says_why_and_has_its_range():
  figure = timings.Figure(
    name='alone', unit='s', ours=(0.0123456, 1.0, 999.96), note='no peer',
    theirs=(np.nan,) * 3,
  )  # fmt: skip
  record = json.loads(json.dumps(figure.record(), allow_nan=False))
  assert 'ratio' not in record
  assert 'theirs' not in record
  assert timings.row(record) == (
    '| alone | 1.00 (0.0123 to 1,000) s | no peer |  |'
  )
  assert timings.line(record) == 'alone: 1.00 (0.0123 to 1,000) s; no peer'


def test_the_head_names_no_side():
  """What stands beside difjax may be difjax."""
  assert 'difjax' not in timings.HEAD[0]


def test_rows_have_the_columns_of_the_head():
  row = timings.row(TIME.record())
  assert {line.count('|') for line in (*timings.HEAD, row)} == {5}
