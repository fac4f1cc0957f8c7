"""Score and velocity against densities and maps in closed form."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
BEDS = [analytic.Gaussian(), analytic.Mixture()]


def points(process, n=12):
  t = np.linspace(process.t_min, process.t_max, n + 2)[1:-1]
  z = np.random.default_rng(0).normal(size=(n, 2))
  alpha, sigma = np.asarray(process.alpha(t)), np.asarray(process.sigma(t))
  return jnp.asarray(np.hypot(alpha, sigma)[:, None] * z), jnp.asarray(t)


@functools.partial(jax.jit, static_argnums=0)
def slope_of_density(data, x, alpha, sigma):
  return jax.grad(lambda x: jnp.sum(data.logp(x, alpha, sigma)))(x)


@pytest.mark.parametrize('data', BEDS)
def test_score_is_the_slope_of_the_density(process, data):
  x, t = points(process)
  exact = slope_of_density(data, x, process.alpha(t), process.sigma(t))
  got = denoising.score(data.denoiser(process)(x, t), process, t)
  np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('data', BEDS)
def test_denoiser_of_the_bed_explains_x(process, data):
  x, t = points(process)
  pair = data.denoiser(process)(x, t)
  np.testing.assert_allclose(process.perturb(*pair[:2], t), x, rtol=1e-9)


def test_velocity_is_the_slope_of_the_map(process):
  # x(t) = alpha m + z sqrt(S): m' = f m and S' = 2 f S + g^2.
  data, (x, t) = analytic.Gaussian(), points(process)
  mean, variance, drift, g2 = (
    np.asarray(v)[:, None]
    for v in (
      *data.marginal(process, t), process.drift(t), process.diffusion2(t)
    )
  )  # fmt: skip
  slope = drift + g2 / (2 * variance)
  exact = drift * mean + (np.asarray(x) - mean) * slope
  got = denoising.velocity(data.denoiser(process)(x, t), process, t)
  np.testing.assert_allclose(got, exact, rtol=1e-8, atol=1e-10)


def test_velocity_is_drift_and_score(process):
  # Song et al. 2021, equation 13: f x - g^2 score / 2.
  x, t = points(process)
  pair = analytic.Mixture().denoiser(process)(x, t)
  score = np.asarray(denoising.score(pair, process, t))
  drift, g2 = (
    np.asarray(v)[:, None] for v in (process.drift(t), process.diffusion2(t))
  )
  np.testing.assert_allclose(
    denoising.velocity(pair, process, t),
    drift * np.asarray(x) - 0.5 * g2 * score, rtol=1e-7, atol=1e-9,
  )  # fmt: skip


def test_scalar_and_batched_times_agree():
  process = processes.VP()
  x, _ = points(process)
  pair = denoising.Prediction(x, x[::-1])
  t = jnp.asarray(0.5 * (process.t_min + process.t_max))
  for function in (denoising.score, denoising.velocity):
    one, many = function(pair, process, t), function(pair, process, t[None])
    np.testing.assert_allclose(one, many, rtol=1e-13)
