"""`difjax bench`: flags in, ratios out."""

from __future__ import annotations

import json

import pytest

from difjax.evaluation import bench

CONFIG = '--config=tests/tiny_config.py'


@pytest.mark.parametrize(
  ('argv', 'named'),
  [
    ([], 'bench needs --config=FILE'),
    ([CONFIG, '--steps=0'], 'steps'),
    ([CONFIG, '--config.stpes=3'], "did you mean 'steps'"),
  ],
)
def test_mistakes(argv, named, refused):
  assert named in refused(2, 'bench', *argv)


def test_it_prints_ratios_and_their_figures(call, monkeypatch):
  seen = []

  def loop_overhead(trainer, steps, rounds):
    seen.append((trainer.data.batch_size, steps, rounds))
    return {'loop_ms': 2.0, 'bare_ms': 1.6, 'ratio': 1.25}

  def sampling_overhead(trainer, sampler, rounds):
    seen.append((sampler.grid.steps, rounds))
    return {'sampler_ms': 3.0, 'ratio': 1.5}

  monkeypatch.setattr(bench, 'loop_overhead', loop_overhead)
  monkeypatch.setattr(bench, 'sampling_overhead', sampling_overhead)
  code, out, err = call(
    'bench', CONFIG, '--steps=3', '--rounds=2', '--config.data.batch_size=8'
  )
  assert (code, err) == (0, [])
  assert seen == [(8, 3, 2), (4, 2)]
  *ratios, figures = out.splitlines()
  assert ratios == ['loop: 1.250', 'sampling: 1.500']
  assert json.loads(figures)['loop']['bare_ms'] == 1.6
