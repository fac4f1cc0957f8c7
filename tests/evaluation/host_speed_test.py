"""Benchmarks of the host measure what they say; how fast is no test's business.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from difjax import data, errors
from difjax.evaluation import (
  bench,
  checkpoint_bench,
  host_speed,
  input_bench,
)
from tests import tiny


def test_batches_of_a_pipeline():
  (figure,) = host_speed.InputSpeed(
    title='digits', batches=3,
    data=data.Pipeline(source=data.Digits(), batch_size=8, threads=1),
  ).measure(2)  # fmt: skip
  record = figure.record()
  assert len(record['ours']['rounds']) == 2
  assert record['ours']['range'][0] > 0
  assert record['unit'] == 'images/s'


def test_tars_are_those_that_are_asked_for(tmp_path):
  host_speed.ShardSpeed(images=5, shards=2, side=20).write(tmp_path)
  source = data.Shards(path=str(tmp_path))
  assert source.chunks == (3, 2)
  images = np.stack([source[i]['image'] for i in range(5)])
  assert images.shape == (5, 20, 20, 3)
  assert len(np.unique(images[:, 0, 0], axis=0)) == 5  # all differ
  smooth = np.abs(np.diff(images.astype(int), axis=1)).mean()
  assert smooth < 0.5 * np.abs(np.diff(images.astype(int), axis=0)).mean()


def test_tars_beside_the_fastest_other_side_or_alone(monkeypatch):
  sides = {'webdataset': [2.0, 2.0], 'webdataset_workers': [5.0, 4.0]}

  def read(path, size, batches, rounds):
    assert (size, batches, rounds) == (8, 3, 2)
    assert len(data.Shards(path=path, size=size)) == 4
    return None, {'ours': [9.0, 9.0], 'ours_workers': [10.0, 10.0]}, sides

  monkeypatch.setattr(input_bench, 'read', read)
  monkeypatch.setattr(
    host_speed.importlib.metadata, 'version', lambda name: '1.0'
  )
  benchmark = host_speed.ShardSpeed(
    images=4, shards=1, side=16, size=8, batches=3
  )
  (figure,) = benchmark.measure(2)
  assert figure.beside == 'webdataset 1.0'
  assert figure.record()['ratio']['rounds'] == [2.0, 2.5]
  sides.clear()
  (figure,) = benchmark.measure(2)
  assert figure.beside is None
  assert 'pip install webdataset' in figure.note


def test_a_checkpoint_beside_its_writing(monkeypatch):
  monkeypatch.setattr(
    checkpoint_bench, 'rounds',
    lambda trainer, saves: (2_500_000, [(0.5, 2.0)] * saves),
  )  # fmt: skip
  (figure,) = host_speed.CheckpointSpeed(
    title='a model', trainer=tiny.mean_trainer()
  ).measure(3)
  assert figure.name.endswith('a checkpoint of 2 MB')
  assert figure.record()['ratio']['rounds'] == [4.0] * 3


_RUN = """
import pathlib, sys, time, os
workdir, = [a[10:] for a in sys.argv if a.startswith('--workdir=')]
assert '--config=some.py' in sys.argv
cache = pathlib.Path(os.environ['JAX_COMPILATION_CACHE_DIR'])
if not cache.exists():
  cache.mkdir()
  time.sleep(0.6)
pathlib.Path(workdir).mkdir()
file = pathlib.Path(workdir, 'metrics.jsonl').open('w')
print('{}', file=file, flush=True)
time.sleep(600)
"""


def test_a_start_without_and_with_compiled_programs(monkeypatch):
  """A stand-in compiles for 0.6 s, once for each cache, and then trains on."""
  monkeypatch.setattr(host_speed, '_TRAIN', (sys.executable, '-c', _RUN))
  monkeypatch.setattr(bench, 'in_turn', lambda *given: [(2.0, 1.0)])
  began = time.monotonic()
  imported, started = host_speed.StartUp(
    title='a model', config='some.py'
  ).measure(2)
  assert time.monotonic() - began < 60
  assert imported.record()['ratio']['median'] == 0.5
  assert 'import jax' in imported.beside
  assert min(started.theirs) > 0.6
  assert min(started.ours) < min(started.theirs)


def test_a_start_that_fails_says_its_last_line(tmp_path, monkeypatch):
  code = 'import sys; print("why"); sys.exit("no such config\\n")'
  monkeypatch.setattr(host_speed, '_TRAIN', (sys.executable, '-c', code))
  benchmark = host_speed.StartUp(title='', config='some.py')
  with pytest.raises(errors.ConfigError, match='no such config'):
    benchmark.first_step(tmp_path / 'run', tmp_path / 'cache')


@pytest.mark.slow
def test_a_real_start():
  _, started = host_speed.StartUp(
    title='', config=str(tiny.ROOT / 'tests' / 'tiny_config.py')
  ).measure(1)
  assert 0 < started.ours[0] < started.theirs[0]
