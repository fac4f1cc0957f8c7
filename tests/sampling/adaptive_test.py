"""Adaptive DPM-Solver: each image by itself, to its tolerance."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from difjax.sampling.samplers import counted
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Mixture()
EDM = processes.EDM(t_min=0.05, t_max=10.0)
X = 10 * np.random.default_rng(0).normal(size=(6, 2))
ADAPTIVE = functools.partial(sampling.AdaptiveDPM, denoise=False)


def run(sampler, x, noise=None, process=EDM):
  call = jax.jit(lambda x: sampler(DATA.denoiser(process), process, x, noise))
  return jax.tree.map(np.asarray, call(jnp.asarray(x)))


@pytest.mark.parametrize('order', [2, 3])
def test_the_error_follows_the_tolerance(order):
  exact = np.asarray(DATA.flow(EDM, X, 10.0, 0.05))
  errors, counts = [], []
  for rtol in (1e-2, 1e-4):
    x, evaluations = run(ADAPTIVE(order=order, rtol=rtol, atol=rtol / 5), X)
    errors.append(np.abs(x - exact).max())
    counts.append(evaluations.mean())
  # The estimate is that of the lower rule: E ~ h^order.
  assert errors[0] < 0.05
  assert errors[1] < 10 ** (-2 * 0.9) * errors[0]
  assert counts[1] / counts[0] == pytest.approx(100 ** (1 / order), rel=0.5)


def keys(images):
  return sampling.Keys(sampling.image_keys(0, images))


@pytest.mark.parametrize('eta', [0.0, 0.5])
def test_an_image_does_not_depend_on_the_batch(eta):
  sampler = ADAPTIVE(eta=eta)
  whole, evaluations = run(sampler, X, keys(np.arange(6)))
  assert len(np.unique(evaluations)) > 1  # each has steps of its own
  some = np.asarray([4, 1])
  part, counts = run(sampler, X[some], keys(some))
  np.testing.assert_allclose(part, whole[some], rtol=1e-9)
  np.testing.assert_array_equal(counts, evaluations[some])


def test_the_error_of_a_batch_couples_images():
  sampler = ADAPTIVE(coupled=True)
  assert sampling.couples(sampler)
  assert not sampling.couples(ADAPTIVE())
  whole, evaluations = run(sampler, X)
  assert len(np.unique(evaluations)) == 1
  assert np.abs(run(sampler, X[:2])[0] - whole[:2]).max() > 1e-6


@pytest.mark.parametrize('order', [2, 3])
@pytest.mark.parametrize('denoise', [False, True])
def test_evaluations_are_counted_truly(order, denoise):
  calls = []
  denoiser = counted(DATA.denoiser(EDM), lambda: calls.append(1))
  sampler = sampling.AdaptiveDPM(order=order, rtol=0.5, denoise=denoise)
  _, evaluations = sampler(denoiser, EDM, jnp.asarray(X[:1]), None)
  jax.effects_barrier()
  assert len(calls) == int(evaluations[0])


def test_it_ends_where_it_is_told(smooth):
  """On any process, at t_min; with data of one point x_0 is known there."""
  point = analytic.Gaussian(mean=0.3, std=0.0)
  low = smooth.time_of_logsnr(jnp.asarray(4.0))
  sampler = ADAPTIVE(t_min=float(low))
  x = jnp.asarray([[2.0], [-1.0]])
  with jax.disable_jit():  # a few steps, on many processes
    found, _ = sampler(point.denoiser(smooth), smooth, x, None)
  exact = point.flow(smooth, x, smooth.t_max, low)
  np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_too_few_steps_give_no_image():
  x, _ = run(ADAPTIVE(max_steps=3), X)
  assert np.all(np.isnan(x))


def test_other_orders_are_refused():
  with pytest.raises(ValueError, match='order must be 2 or 3'):
    sampling.AdaptiveDPM(order=4)
