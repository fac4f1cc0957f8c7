"""The benchmark measures what it says; how fast is not a test's business."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from difjax.data import tar_index
from difjax.evaluation import input_bench
from tests.data import tars


@pytest.fixture
def folder(tmp_path):
  for k in range(3):
    tars.write(tmp_path / f'{k}.tar', tars.samples(30, first=30 * k))
  tar_index.write(tmp_path)
  return str(tmp_path)


def test_without_webdataset_it_says_what_to_install(folder, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, 'find_spec',
    lambda name: None if name == 'webdataset' else find(name),
  )  # fmt: skip
  found = input_bench.compare(folder, 2, batches=3, rounds=1)
  assert found['ours_images_per_s'] > 0
  assert 'pip install webdataset' in found['missing']
  assert 'ratio' not in found


def test_beside_webdataset(folder, monkeypatch):
  """A stand-in of known speed takes its place: twice the time of ours."""

  class Slow:
    def __call__(self, path, size, workers):
      while True:
        yield np.zeros((input_bench.BATCH, 2, 2, 3), np.uint8)

  monkeypatch.delitem(sys.modules, 'webdataset', raising=False)
  rates = iter([200.0, 250.0, 100.0] * 3)  # threads, processes, theirs
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: (
    True if name == 'webdataset' else None
  ))  # fmt: skip
  monkeypatch.setattr(input_bench, '_webdataset', Slow())
  monkeypatch.setattr(input_bench, '_rate', lambda batches, count: next(rates))
  found = input_bench.compare(folder, 2, batches=3, rounds=3)
  assert found['webdataset_images_per_s'] == 100
  assert found['ratio'] == 2.5
  assert 'webdataset' not in sys.modules
