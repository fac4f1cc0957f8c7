"""Samplers of consistency models against the official code."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from tests import analytic
from tests.sampling import official

RECORDED = official.load('consistency_samplers')
EDM = processes.EDM()
GRID = sampling.Karras(steps=12)
JUMP = sampling.ConsistencyMultistep()
FIXED = functools.partial(sampling.FixedGrid, grid=GRID)
MIDDLE = sampling.Midpoint(rho=3.0)
SAMPLERS = {  # official name -> sampler
  'onestep': FIXED(solver=JUMP, grid=sampling.Karras(steps=1)),
  'euler': FIXED(solver=sampling.Euler()),
  'progdist': FIXED(
    solver=sampling.Euler(), grid=sampling.Karras(steps=13), denoise=False
  ),
  'heun': FIXED(solver=sampling.Heun()),
  'heun_churn': FIXED(
    solver=sampling.Churned(
      solver=sampling.Heun(), churn=8.0, low=0.05, high=20.0, noise_scale=1.003
    )
  ),
  'dpm': FIXED(solver=MIDDLE, last=MIDDLE),
  'ancestral': FIXED(solver=sampling.Ancestral(solver=sampling.Euler())),
}


def multistep(k):
  """The official `ts` of `steps` times of Karras's grid; no last denoising."""
  grid = sampling.Picked(
    grid=sampling.Karras(steps=int(RECORDED[f'multistep{k}_steps'])),
    indices=tuple(RECORDED[f'multistep{k}_ts'].tolist()),
  )
  return FIXED(solver=JUMP, grid=grid, denoise=False)


@functools.cache
def ends(dtype):
  rules = SAMPLERS | {
    f'multistep{k}': multistep(k) for k in range(3)
  }
  noise = sampling.Recorded(RECORDED['noises'].astype(dtype)[:, None])
  x = jnp.asarray(RECORDED['x_T'], dtype)

  def run():
    return {
      name: rule(official.mixture(RECORDED), EDM, x, noise)[0]
      for name, rule in rules.items()
    }

  return official.eagerly(run)


NAMES = [*SAMPLERS, 'multistep0', 'multistep1', 'multistep2']


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', NAMES)
def test_official_samplers(name):
  exact = RECORDED[f'{name}__f64']
  x = ends(np.float64)[name]
  np.testing.assert_allclose(x, exact, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize('name', NAMES)
def test_float32_is_within_the_official_tolerance(name):
  exact = RECORDED[name]
  rounding = np.abs(exact - RECORDED[f'{name}__f64']).max()
  with jax.enable_x64(False):
    x = ends(np.float32)[name]
  tolerance = 10 * rounding + 2e-6 * np.abs(exact).max()
  np.testing.assert_allclose(x, exact, rtol=0, atol=tolerance)


@pytest.mark.usefixtures('x64')
def test_what_the_network_is_shown():
  noise = sampling.Recorded(RECORDED['noises'].astype(float)[:, None])
  sampler = multistep(0)
  x = jnp.asarray(RECORDED['x_T'], jnp.float64)
  shown = sampling.trajectory(
    official.mixture(RECORDED), EDM, JUMP, x, sampler.grid(EDM)[:2], noise
  )
  exact = RECORDED['multistep0_calls_x__f64']
  np.testing.assert_allclose(shown, exact, rtol=1e-9)
  np.testing.assert_allclose(
    sampler.grid(EDM)[:2], RECORDED['multistep0_calls_sigma__f64'], rtol=1e-9
  )


@pytest.mark.usefixtures('x64')
def test_of_points_every_step_has_the_exact_law(smooth):
  """Where the data are one point, the denoiser knows it: one step is exact."""
  point = analytic.Gaussian(mean=0.3, std=0.0)
  t, s = smooth.time_of_logsnr(jnp.asarray([-3.0, 1.0]))
  low = smooth.time_of_logsnr(jnp.asarray(4.0))
  x, z = jnp.asarray([[2.0], [2.0]]), jnp.asarray([[0.0], [1.0]])
  rule = sampling.ConsistencyMultistep(t_min=float(low))
  mean, end = rule.step(
    point.denoiser(smooth), smooth, (), x, t, s,
    sampling.Recorded(z[None, None]),
  )[0]
  a, b2 = smooth.transition(s, low)
  np.testing.assert_allclose(mean, 0.3 * a, rtol=1e-9)
  np.testing.assert_allclose(end - mean, jnp.sqrt(b2), rtol=1e-9)
