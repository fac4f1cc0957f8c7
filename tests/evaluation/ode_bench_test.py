"""The ODE's benchmark counts truly, and compares curves at equal error."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes
from difjax.evaluation import ode_bench, trained
from tests import tiny


class Typed(tiny.ExactNoise):
  """The exact noise, of a network that says its type as all others do."""

  dtype: jnp.dtype = jnp.float32


@pytest.fixture(scope='module')
def model():
  """A model whose network is exact for Gaussian data."""
  process = processes.VP()
  objective, params = tiny.exact_noise(process)
  return trained.Trained(
    objective=dataclasses.replace(objective, network=Typed(process)),
    params=params, shape=(2, 2, 1),
    num_classes=0, class_names=(), step=1, config={},
  )  # fmt: skip


def test_power_laws_compare_by_their_factors():
  # Of order five both, at errors of their own: 30 % less work at any of them.
  law = lambda factor, errors: ode_bench.Curve(
    tuple(errors), tuple(factor * errors**-0.2)
  )
  ours = law(0.7, np.geomspace(1e-2, 1e-6, 5))
  theirs = law(1.0, np.geomspace(1e-3, 1e-7, 4))
  np.testing.assert_allclose(ode_bench.at_equal_error(ours, theirs), 0.7)
  apart = law(1.0, np.geomspace(1e-8, 1e-9, 3))
  assert np.isnan(ode_bench.at_equal_error(ours, apart)).all()


def test_the_mean_and_the_worst_ratio_by_hand():
  # log n is a line of slope 0 against one of slope 1 / 2: from 1 to 10 times.
  ours = ode_bench.Curve((1e-2, 1e-4), (100, 100))
  theirs = ode_bench.Curve((1e-2, 1e-4), (10, 100))
  np.testing.assert_allclose(
    ode_bench.at_equal_error(ours, theirs), (10**0.5, 10)
  )


def test_an_error_reached_by_luck_counts_for_all_larger_ones():
  # The strictest tolerance errs less, with less work, than the middle one.
  ours = ode_bench.Curve((1e-2, 1e-3, 1e-4), (10, 40, 20))
  theirs = ode_bench.Curve((1e-2, 1e-3, 1e-4), (10, 20, 20))
  np.testing.assert_allclose(ode_bench.at_equal_error(ours, theirs), (1, 1))


def test_the_time_is_of_as_many_calls_as_there_are(model):
  found = ode_bench.wall_clock(model, rounds=1, size=2)
  assert found['ratio'] == pytest.approx(found['ode_ms'] / found['calls_ms'])
  assert found['speed_up'] == pytest.approx(found['scipy_ms'] / found['ode_ms'])
  assert found['evaluations'] % 6 == 1
  assert found['scipy_evaluations'] % 6 == 2


def test_both_err_by_about_what_they_are_allowed(model):
  tolerances = (1e-3, 1e-5, 1e-7)
  work = ode_bench.work(model, 2, tolerances)
  for errors in (work.batch.errors, work.scipy.errors):
    assert (np.asarray(errors) < 30 * np.asarray(tolerances)).all()
    assert errors[0] > errors[1] > errors[2] > 1e-10  # not the same solver
  for calls, image in zip(work.batch.counts, work.image.counts, strict=True):
    assert calls % 6 == 1
    assert image <= calls
  assert all(calls % 6 == 2 for calls in work.scipy.counts)
  figures = work.figures()
  assert 0.3 < figures['image_ratio'] <= figures['ratio'] < 2
  json.dumps(figures, allow_nan=False)
  assert work.picture().startswith(b'\x89PNG')
