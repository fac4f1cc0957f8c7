"""Score and velocity against densities and maps in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
BEDS = [analytic.Gaussian(), analytic.Mixture()]


def points(process, n=12):
  t = jnp.linspace(process.t_min, process.t_max, n + 2)[1:-1]
  z = jax.random.normal(jax.random.key(0), (n, 2))
  return jnp.sqrt(process.alpha(t) ** 2 + process.sigma(t) ** 2)[:, None] * z, t


@pytest.mark.parametrize('data', BEDS)
def test_score_is_the_slope_of_the_density(process, data):
  x, t = points(process)
  exact = jax.grad(lambda x: jnp.sum(data.logp(process, x, t)))(x)
  got = denoising.score(data.denoiser(process)(x, t), process, t)
  np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('data', BEDS)
def test_denoiser_of_the_bed_explains_x(process, data):
  x, t = points(process)
  pair = data.denoiser(process)(x, t)
  np.testing.assert_allclose(process.perturb(*pair[:2], t), x, rtol=1e-9)


def test_velocity_is_the_slope_of_the_map(process):
  data, (x, t) = analytic.Gaussian(), points(process)
  path = lambda x, t: jax.jvp(
    lambda s: data.flow(process, x, t, s), (t,), (jnp.ones_like(t),)
  )[1]
  got = denoising.velocity(data.denoiser(process)(x, t), process, t)
  np.testing.assert_allclose(got, jax.vmap(path)(x, t), rtol=1e-8, atol=1e-10)


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


def test_scalar_and_batched_times_agree(process):
  x, _ = points(process)
  t = 0.5 * (process.t_min + process.t_max)
  pair = analytic.Mixture().denoiser(process)(x, jnp.asarray(t))
  for function in (denoising.score, denoising.velocity):
    np.testing.assert_allclose(
      function(pair, process, t), function(pair, process, jnp.full(12, t)),
      rtol=1e-13,
    )  # fmt: skip
