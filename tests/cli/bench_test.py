"""`difjax bench`: flags in, ratios out."""

from __future__ import annotations

import json

import pytest

from difjax.evaluation import bench, checkpoint_bench, input_bench, ode_bench

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


def test_checkpoints_alone_where_a_step_is_timed_elsewhere(call, monkeypatch):
  seen = []

  def stall(trainer, saves, step_ms):
    seen.append((trainer.checkpoints.every, saves, step_ms))
    return {'blocked_s': 0.5, 'ratio': 0.25}

  monkeypatch.setattr(checkpoint_bench, 'stall', stall)
  code, out, _ = call('bench', CONFIG, '--saves=2', '--step_ms=80')
  assert code == 0
  assert seen == [(6, 2, 80.0)]
  ratio, figures = out.splitlines()
  assert ratio == 'checkpoint: 0.250'
  assert json.loads(figures) == {
    'checkpoint': {'blocked_s': 0.5, 'ratio': 0.25}
  }


def test_of_a_run_it_prints_time_and_work_and_writes_both(
  trained, tmp_path, call, monkeypatch
):
  seen = []

  def wall_clock(model, rounds, size):
    seen.append((model.step, rounds, size))
    return {'ratio': 1.05}

  def work(model, size):
    seen.append(size)
    line = ode_bench.Curve((1e-2, 1e-4), (20, 40))
    return ode_bench.Work(line, line, ode_bench.Curve(line.errors, (40, 80)))

  monkeypatch.setattr(ode_bench, 'wall_clock', wall_clock)
  monkeypatch.setattr(ode_bench, 'work', work)
  code, out, err = call(
    'bench', f'--workdir={trained}', '--rounds=2', '--images=3',
    f'--out={tmp_path}/out',
  )  # fmt: skip
  assert (code, err) == (0, [])
  assert seen == [(4, 2, 3), 3]
  *ratios, figures = out.splitlines()
  assert ratios == ['ode: 1.050', 'work: 0.500']
  written = json.loads((tmp_path / 'out' / 'bench.json').read_text())
  assert written == json.loads(figures)
  assert written['work']['scipy_evaluations'] == [40, 80]
  picture = tmp_path / 'out' / 'work_precision.png'
  assert picture.read_bytes().startswith(b'\x89PNG')


def test_of_tars_it_prints_the_ratio_or_what_is_missing(call, monkeypatch):
  seen = []
  figures = iter([{'ratio': 1.5}, {'missing': 'pip install it'}])

  def compare(*args):
    seen.append(args)
    return next(figures)

  monkeypatch.setattr(input_bench, 'compare', compare)
  line = ('bench', '--shards=tars', '--size=8', '--steps=3', '--rounds=2')
  assert call(*line)[1].splitlines()[0] == 'input: 1.500'
  assert call(*line)[1].splitlines()[0] == 'input: pip install it'
  assert seen == [('tars', 8, 3, 2)] * 2
