"""The benchmark measures what it says; how fast is not a test's business."""

from __future__ import annotations

import pytest

from difjax import data, processes, sampling, training
from difjax.evaluation import bench
from tests import tiny


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


class Forbidden:
  """A hook that must not be called."""

  every = 1

  def __call__(self, run, step, state):
    """Fails."""
    raise AssertionError('the hooks of the run are left out')


def test_the_loop_over_the_bare_step():
  trainer = tiny.mean_trainer(
    hooks=(Forbidden(),), tensorboard=True, steps=1, log_every=2
  )
  found = bench.loop_overhead(trainer, steps=4, rounds=2)
  assert set(found) == {'loop_ms', 'bare_ms', 'ratio'}
  assert found['bare_ms'] > 0
  assert found['ratio'] == pytest.approx(found['loop_ms'] / found['bare_ms'])


def test_the_sampler_over_its_evaluations():
  objective, _ = tiny.exact_noise(processes.VP())
  trainer = training.Trainer(
    objective=objective, steps=1,
    data=data.Pipeline(source=data.Digits(), batch_size=16, threads=1),
  )  # fmt: skip
  sampler = sampling.FixedGrid(
    solver=sampling.Heun(), grid=sampling.Uniform(steps=4)
  )
  found = bench.sampling_overhead(trainer, sampler, rounds=2)
  assert found['evaluations'] == 7
  assert found['ratio'] == pytest.approx(
    found['sampler_ms'] / found['calls_ms']
  )
