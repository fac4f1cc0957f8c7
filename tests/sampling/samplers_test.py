"""Samplers as a whole: what they return, and what it truly cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from difjax.sampling.samplers import counted
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Mixture()
EDM = processes.EDM()
CORRECTED = sampling.PredictorCorrector(
  predictor=sampling.ReverseDiffusion(), corrector=sampling.Langevin(steps=2)
)
COSTS = {  # evaluations in a step, from the papers' algorithms
  'euler': (sampling.Euler(), 1),
  'heun': (sampling.Heun(), 2),
  'midpoint': (sampling.Midpoint(), 2),
  'dpm_1': (sampling.DPMSolver1(), 1),
  'dpm_2': (sampling.DPMSolver2(), 2),
  'dpm_3': (sampling.DPMSolver3(data=True), 3),
  'ancestral': (sampling.Ancestral(solver=sampling.Heun()), 2),
  'dpm_sde': (sampling.DPMPPSDE(), 2),
  'churned': (sampling.Churned(solver=sampling.Heun(), churn=9.0), 2),
  'in_sigma': (sampling.InSigma(solver=sampling.Heun()), 2),
  'sde_euler': (sampling.SDEEuler(), 1),
  'sde_heun': (sampling.SDEHeun(), 2),
  'consistency': (sampling.ConsistencyMultistep(), 1),
  'denoise': (sampling.Denoise(), 1),
  'ddim': (sampling.DDIM(eta=0.5), 1),
  'euler_maruyama': (sampling.EulerMaruyama(), 1),
  'reverse_diffusion': (sampling.ReverseDiffusion(), 1),
  'langevin': (sampling.Langevin(steps=3), 3),
  'predictor_corrector': (CORRECTED, 3),
}


def start(n=3, scale=80.0):
  return scale * jax.random.normal(jax.random.key(0), (n, 2))


def keys(n=3, seed=0):
  return sampling.Keys(sampling.image_keys(seed, np.arange(n)))


@pytest.mark.parametrize(
  ('name', 'denoise'), [*((name, True) for name in COSTS), ('heun', False)]
)
def test_evaluations_are_counted_truly(name, denoise):
  solver, cost = COSTS[name]
  calls = []
  denoiser = counted(DATA.denoiser(EDM), lambda: calls.append(1))
  sampler = sampling.FixedGrid(
    solver=solver, grid=sampling.Karras(steps=6), denoise=denoise
  )
  with jax.disable_jit():  # loops are Python's, and calls are calls
    _, evaluations = sampler(denoiser, EDM, start(1), keys(1))
  assert evaluations.shape == (1,)
  assert int(evaluations[0]) == len(calls) == 5 * cost + denoise


def test_final_step_is_the_denoiser():
  grid, denoiser = sampling.Karras(steps=5), DATA.denoiser(EDM)
  times = grid(EDM)
  end = sampling.sample(
    denoiser, EDM, sampling.Heun(), start(), times, keys(), denoise=False
  )
  whole, evaluations = sampling.FixedGrid(solver=sampling.Heun(), grid=grid)(
    denoiser, EDM, start(), keys()
  )
  np.testing.assert_allclose(whole, denoiser(end, times[-1]).x0, rtol=1e-12)
  np.testing.assert_array_equal(evaluations, [9, 9, 9])  # EDM's 2 N - 1


def test_one_step_is_one_evaluation():
  sampler = sampling.FixedGrid(
    solver=sampling.Heun(), grid=sampling.Karras(steps=1)
  )
  x, evaluations = sampler(DATA.denoiser(EDM), EDM, start(), keys())
  np.testing.assert_allclose(x, DATA.denoiser(EDM)(start(), 80.0).x0, 1e-12)
  np.testing.assert_array_equal(evaluations, [1, 1, 1])


@pytest.mark.parametrize('solver', [sampling.Heun(), CORRECTED])
def test_images_do_not_depend_on_the_batch(solver):
  times = sampling.Karras(steps=6)(EDM)
  run = jax.jit(
    lambda x, noise: sampling.sample(
      DATA.denoiser(EDM), EDM, solver, x, times, noise
    )
  )
  x, image = start(4), sampling.image_keys(0, np.arange(4))
  whole = run(x, sampling.Keys(image))
  turned = run(x[::-1], sampling.Keys(image[::-1]))[::-1]
  np.testing.assert_allclose(turned, whole, rtol=1e-12)
  alone = run(x[2:3], sampling.Keys(image[2:3]))
  np.testing.assert_allclose(alone, whole[2:3], rtol=1e-10)


def test_each_step_draws_its_own_noise():
  # On EDM, DDIM with eta 1 to data at 0: x_s = (s / t)^2 x + ... z_i. The
  # draws of the steps add up with known weights.
  data = analytic.Gaussian(mean=0.0, std=0.0)
  times, draws = np.asarray([4.0, 2.0, 1.0]), np.asarray([[[[3.0]]], [[[5.0]]]])
  x = sampling.sample(
    data.denoiser(EDM), EDM, sampling.DDIM(eta=1.0), jnp.asarray([[16.0]]),
    times, sampling.Recorded(draws), denoise=False,
  )  # fmt: skip
  # Posterior: mean (s/t)^2 x, variance s^2 (t^2 - s^2) / t^2.
  first = 16 / 4 + np.sqrt(4 * 12 / 16) * 3
  second = first / 4 + np.sqrt(1 * 3 / 4) * 5
  np.testing.assert_allclose(x, [[second]], rtol=1e-12)


def test_samples_are_the_data():
  # Fifty exact Heun steps: every sample is near one of three points.
  data = analytic.Mixture(stds=((1e-3, 1e-3),) * 3)
  sampler = sampling.FixedGrid(
    solver=sampling.Heun(), grid=sampling.Karras(steps=50)
  )
  x, _ = sampler(data.denoiser(EDM), EDM, start(256), keys(256))
  distance = np.linalg.norm(
    np.asarray(x)[:, None] - np.asarray(data.means), axis=-1
  )
  assert distance.min(axis=1).max() < 5e-3
  shares = np.bincount(distance.argmin(axis=1), minlength=3) / 256
  np.testing.assert_allclose(shares, data.weights, atol=4 * 0.5 / 16)


def test_float32_stays_float32():
  with jax.enable_x64(False):
    x = jnp.ones((2, 2), jnp.float32)
    for solver, _ in COSTS.values():
      out = jax.eval_shape(
        lambda x, solver=solver: sampling.sample(
          analytic.Gaussian().denoiser(EDM), EDM, solver, x,
          np.asarray([2.0, 1.0]), keys(2),
        ),
        x,
      )  # fmt: skip
      assert out.dtype == jnp.float32
