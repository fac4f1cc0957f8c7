"""Single-step and stochastic solvers against k-diffusion, step by step."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from tests.sampling import official

RECORDED = official.load('kdiffusion_samplers')
EDM = processes.EDM(t_min=0.01, t_max=40.0)
GRID = sampling.Karras(steps=12)
CHURN = {'churn': 8.0, 'low': 0.05, 'high': 20.0, 'noise_scale': 1.003}
SDE = sampling.SDEDPMSolverPP
SOLVERS = {  # official name -> solver
  'euler': sampling.Euler(),
  'euler_churn': sampling.Churned(solver=sampling.Euler(), **CHURN),
  'heun': sampling.Heun(),
  'heun_churn': sampling.Churned(solver=sampling.Heun(), **CHURN),
  'dpm_2': sampling.DPMSolver2(),
  'dpm_2_ancestral': sampling.Ancestral(solver=sampling.DPMSolver2()),
  'euler_ancestral': sampling.Ancestral(solver=sampling.Euler()),
  'euler_ancestral_eta05': sampling.Ancestral(
    solver=sampling.Euler(), eta=0.5, noise_scale=1.01
  ),
  'dpmpp_2s_ancestral': sampling.Ancestral(
    solver=sampling.DPMSolver2(data=True)
  ),
  'dpmpp_sde': sampling.DPMPPSDE(one_path=False),
  'dpmpp_2m_sde': SDE(),
  'dpmpp_2m_sde_heun': SDE(eta=0.7, midpoint=False),
  'dpmpp_2m_sde_eta0': SDE(eta=0.0),
  'dpmpp_3m_sde': SDE(order=3, midpoint=False, shipped=True),
}
FAST = functools.partial(sampling.DPMFast, evaluations=18, denoise=False)
ADAPTIVE = functools.partial(sampling.AdaptiveDPM, coupled=True, denoise=False)
SAMPLERS = {
  'dpm_fast': FAST(),
  'dpm_fast_eta': FAST(eta=0.6),
  'dpm_adaptive': ADAPTIVE(),
  'dpm_adaptive_o2': ADAPTIVE(order=2, rtol=0.01, atol=0.001),
  'dpm_adaptive_eta': ADAPTIVE(eta=0.5),
}


def draws(name, dtype):
  slots = 2 if name == 'dpmpp_sde' else 1  # draws in a step
  noises = RECORDED['noises'].astype(dtype)
  return sampling.Recorded(noises.reshape(-1, slots, *noises.shape[1:]))


def churned(x, z):
  """What the official code records: x [12, ...] with its step's noise."""
  sigma = GRID(EDM)
  grows = (sigma >= CHURN['low']) & (sigma <= CHURN['high'])  # to sqrt(2)
  std = CHURN['noise_scale'] * grows * sigma
  return x + jnp.asarray(std)[:, None, None] * z[:12]


@functools.cache
def trajectories(dtype):
  """Returns x [13, 6, 2] of every solver."""
  denoise = official.mixture(RECORDED)
  x = jnp.asarray(RECORDED['x_T'], dtype)

  def run():
    found = {}
    for name, solver in SOLVERS.items():
      noise = draws(name, dtype)
      steps = sampling.trajectory(denoise, EDM, solver, x, GRID(EDM), noise)
      last = denoise(steps[-1], jnp.asarray(EDM.t_min, dtype)).x0
      if name.endswith('churn'):
        steps = churned(steps, noise.draws[:, 0])
      found[name] = jnp.concatenate([steps, last[None]])
    for name, sampler in SAMPLERS.items():
      found[name] = sampler(denoise, EDM, x, draws(name, dtype))
    return found

  return official.eagerly(run)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', SOLVERS)
def test_every_step_is_the_official_one(name):
  exact = RECORDED[f'{name}__traj__f64']
  for i, x in enumerate(trajectories(np.float64)[name]):
    np.testing.assert_allclose(x, exact[i], atol=1e-6 * np.abs(exact[i]).max())


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', SAMPLERS)
def test_samplers_end_as_the_official_ones(name):
  exact = RECORDED[f'{name}__traj__f64'][-1]
  x, evaluations = trajectories(np.float64)[name]
  np.testing.assert_allclose(x, exact, atol=1e-6 * np.abs(exact).max())
  counts = f'{name}__info_steps_nfe_accept_reject'
  total = RECORDED[counts][1] if counts in RECORDED else 18
  np.testing.assert_array_equal(evaluations, [total] * 6)


@pytest.mark.parametrize('name', [*SOLVERS, *SAMPLERS])
def test_float32_is_within_the_official_tolerance(name):
  exact = RECORDED[f'{name}__traj']
  rounding = np.abs(exact - RECORDED[f'{name}__traj__f64']).max()
  with jax.enable_x64(False):
    x = trajectories(np.float32)[name]
  if name in SAMPLERS:
    x, exact = x[0], exact[-1]
  tolerance = 10 * rounding + 2e-6 * np.abs(exact).max()
  np.testing.assert_allclose(x, exact, rtol=0, atol=tolerance)


def test_grids_are_the_official_ones():
  vp = processes.VP(t_min=1e-3)
  grids = {
    'karras': GRID,
    'exponential': sampling.LogSNR(steps=12),
    'polyexponential_rho2': sampling.Polyexponential(steps=12, rho=2.0),
    'vp': sampling.Matched(process=vp, grid=sampling.Uniform(steps=12)),
  }
  for name, grid in grids.items():
    exact = RECORDED[f'sigmas_{name}__f64']
    assert exact[-1] == 0
    np.testing.assert_allclose(grid(EDM), exact[:-1], rtol=1e-9)
