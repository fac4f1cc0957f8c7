"""Scores while a run trains: those of the images that the average gives."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import (
  data,
  errors,
  evaluation,
  interop,
  metrics,
  processes,
  sampling,
  training,
)
from difjax.evaluation import feature_nets, samples, scored
from tests import analytic

SHAPE = (8, 8, 1)
SAMPLER = sampling.FixedGrid(
  solver=sampling.DDIM(), grid=sampling.Uniform(steps=3)
)


@dataclasses.dataclass(frozen=True)
class Exact:
  """An objective that knows the denoiser of Gaussian data."""

  process: processes.Process = processes.VP()
  law: analytic.Gaussian = analytic.Gaussian(mean=-0.4, std=0.2)
  evaluations: int = 1

  def denoiser(self, params, cond=None):
    """Returns the exact one, shifted by `params`."""
    exact = self.law.denoiser(self.process)
    return lambda x, t: jax.tree.map(lambda v: v + params, exact(x, t))


class Lines:
  """A writer that keeps scalars."""

  def __init__(self):
    self.rows = []

  def scalars(self, step, values):
    self.rows.append((step, dict(values)))


def hook(**fields):
  fields = {
    'source': data.Digits(split='test'), 'features': evaluation.Pixels(),
    **fields,
  }  # fmt: skip
  return scored.Scored(
    sampler=SAMPLER, images=20, size=4, seed=3, every=1, ema='main',
    figures=evaluation.Figures(overlap=0, subsets=0, draws=0), **fields,
  )  # fmt: skip


@pytest.fixture
def run(tmp_path):
  of_run = training.Run(
    objective=Exact(), workdir=tmp_path, writers=(Lines(),),
    mesh=training.Mesh().build(),
    pipeline=data.Pipeline(source=data.Digits(), batch_size=8, threads=1),
  )  # fmt: skip
  average = jnp.float32(0.1)
  state = training.TrainState(
    step=7, params=jnp.zeros(()), opt_state=(), ema={'main': average}, aux=(),
    skipped=0, streak=0,
  )  # fmt: skip
  return of_run, state, average


def test_it_scores_the_images_of_the_average(run):
  of_run, state, params = run
  judge = hook()
  judge(of_run, 7, state)
  judge(of_run, 9, state)
  first, second = of_run.writers[0].rows
  assert (first[0], second[0]) == (7, 9)
  assert first[1] == second[1]
  images, _ = samples.generate(
    of_run.objective, SAMPLER, params, shape=SHAPE,
    indices=np.arange(20), labels=np.arange(20) % 10, seed=3, size=4,
  )  # fmt: skip
  test = data.Digits(split='test')
  real = test.take(np.arange(len(test)))['image']
  gaussian = lambda x: metrics.Moments.of(
    x.reshape(len(x), -1) / np.float32(255)
  ).gaussian
  expected = metrics.frechet_distance(gaussian(images), gaussian(real))
  assert first[1].keys() == {'score/fd_pixels'}
  assert first[1]['score/fd_pixels'] == pytest.approx(expected, rel=1e-5)


def test_network_and_reference_are_made_once(run, monkeypatch):
  of_run, state, _ = run
  loads = []
  load = feature_nets.Pixels.load
  monkeypatch.setattr(
    feature_nets.Pixels, 'load', lambda self: loads.append(1) or load(self)
  )
  judge = hook()
  assert loads == [1]  # to see that it is there
  judge(of_run, 1, state)
  judge(of_run, 2, state)
  assert loads == [1, 1]


def test_what_is_not_there_ends_no_run_after_hours(tmp_path, monkeypatch):
  with pytest.raises(errors.DataError, match=r'x\.npz is not there'):
    hook(source=None, reference=str(tmp_path / 'x.npz'))
  monkeypatch.setenv('DIFJAX_WEIGHTS', str(tmp_path))
  with pytest.raises(errors.DataError, match='fetch https'):
    hook(features=interop.Inception())


@pytest.mark.parametrize(
  'fields', [{'source': None}, {'reference': 'x.npz'}]
)
def test_one_reference_is_asked_for(fields):
  with pytest.raises(errors.ConfigError, match='one of reference=PATH and'):
    hook(**fields)
