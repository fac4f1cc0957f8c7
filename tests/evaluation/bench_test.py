"""The benchmark measures what it says; how fast is not a test's business."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest

from difjax import data, processes, sampling, training
from difjax.evaluation import bench, trained
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


class Typed(tiny.ExactNoise):
  """The exact noise, of a network that says its type as all others do."""

  dtype: jnp.dtype = jnp.float32


def test_the_ode_against_scipy():
  """The exact denoiser's ODE, where both err by what they are allowed."""
  process = processes.VP()
  objective, params = tiny.exact_noise(process)
  network = Typed(process)
  model = trained.Trained(
    objective=dataclasses.replace(objective, network=network),
    params=params, shape=(2, 2, 1),
    num_classes=0, class_names=(), step=1, config={},
  )  # fmt: skip
  found = bench.adaptive_ode(model, rounds=1, size=2)
  assert found['ratio'] == pytest.approx(found['ode_ms'] / found['calls_ms'])
  for tolerance in (1e-3, 1e-4, 1e-5):
    ours, theirs = (
      found[f'{name}_{tolerance:g}'] for name in ('error', 'scipy_error')
    )
    assert 0 < ours < 100 * tolerance
    assert 0 < theirs < 100 * tolerance
    assert found[f'evaluations_{tolerance:g}'] % 6 == 1
    assert found[f'scipy_evaluations_{tolerance:g}'] % 6 == 2
