"""The benchmark measures what it says; how fast is not a test's business."""

from __future__ import annotations

import tempfile
import time

import jax
import jax.numpy as jnp
import pytest

from difjax import data, processes, sampling, training
from difjax.evaluation import bench
from difjax.training import checkpoint
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


def test_nothing_is_written_while_bare_steps_are_timed(tmp_path, monkeypatch):
  seal, run, seen = checkpoint.Checkpointer._seal, bench.run_steps, []

  def late(self):
    time.sleep(0.3)
    seal(self)

  def noted(*given):
    seen.append({path.name for path in tmp_path.glob('*/checkpoints/*')})
    return run(*given)

  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  monkeypatch.setattr(checkpoint.Checkpointer, '_seal', late)
  monkeypatch.setattr(bench, 'run_steps', noted)
  bench.loop_rounds(tiny.mean_trainer(), steps=2, rounds=1)
  assert seen == [{'2'}, {'2', '4'}]


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


def test_calls_of_the_network_are_queued_as_a_sampler_does(monkeypatch):
  """Each begins with what the one before found; the host waits once."""
  objective, _ = tiny.exact_noise(processes.VP())
  trainer = training.Trainer(
    objective=objective, steps=1,
    data=data.Pipeline(source=data.Digits(), batch_size=16, threads=1),
  )  # fmt: skip
  waited, wait = [], jax.block_until_ready
  monkeypatch.setattr(bench.jax, 'block_until_ready', lambda tree: (
    waited.append(tree), wait(tree)
  )[1])  # fmt: skip

  def in_turn(rounds, drawn, evaluated):
    waited.clear()
    evaluated()
    return [(1.0, 1.0)]

  monkeypatch.setattr(bench, 'in_turn', in_turn)
  sampler = sampling.FixedGrid(
    solver=sampling.Euler(), grid=sampling.Uniform(steps=5)
  )
  count, _ = bench.sampling_rounds(trainer, sampler, rounds=1)
  (last,) = waited
  assert count == 5
  assert last.shape == (bench.BLOCK, *trainer.data.shape)
  assert bool(jnp.isfinite(last).all())
