"""One process's denoiser on another, and EDM's ablations by their formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Mixture()
EDM = processes.EDM()
X = np.asarray([[2.0, -1.0], [0.1, 0.4]])


def test_the_exact_denoiser_is_carried_to_the_exact_one(smooth):
  t = smooth.time_of_logsnr(jnp.asarray([-1.0, 2.0]))
  carried = sampling.carried(DATA.denoiser(EDM), EDM, smooth)
  for ours, theirs in zip(
    carried(X, t), DATA.denoiser(smooth)(X, t), strict=True
  ):
    if theirs is not None:
      np.testing.assert_allclose(ours, theirs, rtol=1e-8)


@pytest.mark.parametrize('solver', [sampling.Heun(), sampling.IPNDM()])
def test_in_sigma_is_the_edm_process(smooth, solver):
  grid = sampling.Karras(steps=5, sigma_min=0.1, sigma_max=5.0)
  with jax.disable_jit():  # a few steps, on many processes
    ours = sampling.trajectory(
      DATA.denoiser(smooth), smooth, sampling.InSigma(solver=solver),
      jnp.asarray(smooth.alpha(grid(smooth)[0]) * X), grid(smooth),
      sampling.Recorded(X),
    )  # fmt: skip
    theirs = sampling.trajectory(
      DATA.denoiser(EDM), EDM, solver, jnp.asarray(X), grid(EDM),
      sampling.Recorded(X),
    )  # fmt: skip
  alpha = np.asarray(smooth.alpha(grid(smooth)))
  np.testing.assert_allclose(ours / alpha[:, None, None], theirs, rtol=1e-7)


def vp(t):
  """Returns sigma, its slope, s and its slope: Karras et al. 2022, table 1."""
  sigma = np.sqrt(np.expm1(19.9 / 2 * t**2 + 0.1 * t))
  slope = 0.5 * (0.1 + 19.9 * t) * (sigma + 1 / sigma)
  scale = 1 / np.sqrt(sigma**2 + 1)
  return sigma, slope, scale, -sigma * slope * scale**3


def ve(t):
  return np.sqrt(t), 0.5 / np.sqrt(t), 1.0, 0.0


def ablated(schedule, times, alpha, x):
  """Algorithm 3 without churn, and equation 4, as they are printed."""

  def slope(x, t):
    sigma, dsigma, scale, dscale = schedule(t)
    one = jnp.ones(())
    x0 = np.asarray(DATA.pair(jnp.asarray(x / scale), one, sigma * one).x0)
    return (dscale / scale + dsigma / sigma) * x - scale * dsigma / sigma * x0

  x = schedule(times[0])[2] * np.asarray(x)
  for t, s in zip(times, [*times[1:], 0.0], strict=True):
    h, first = s - t, slope(x, t)
    if s and alpha:
      later = slope(x + alpha * h * first, t + alpha * h)
      share = 1 / (2 * alpha)
      first = (1 - share) * first + share * later
    x = x + h * first
  return x


@pytest.mark.parametrize('alpha', [0.0, 0.8, 1.0])
@pytest.mark.parametrize('name', ['vp', 've'])
def test_ablations_are_processes_grids_and_solvers(name, alpha):
  """Of a network on the EDM process: schedules and scalings of its table 1."""
  if name == 'vp':
    process = processes.VP(t_min=1e-3)
    grid, schedule = sampling.Uniform(steps=6), vp
    times = np.linspace(1, 1e-3, 6)
  else:
    process = processes.Brownian()
    grid, schedule = sampling.LogSNR(steps=6), ve
    times = np.geomspace(100**2, 0.02**2, 6)
  own = processes.EDM(t_max=schedule(times[0])[0])
  solver = sampling.Heun(alpha=alpha) if alpha else sampling.Euler()
  sampler = sampling.OnProcess(
    process=process,
    sampler=sampling.FixedGrid(
      solver=solver, grid=grid, last=sampling.Euler()
    ),
  )
  x = jnp.asarray(50 * X)
  got, evaluations = sampler(DATA.denoiser(own), own, x, sampling.Recorded(x))
  np.testing.assert_allclose(got, ablated(schedule, times, alpha, x), rtol=1e-6)
  np.testing.assert_array_equal(evaluations, [11 if alpha else 6] * 2)


@pytest.mark.parametrize('alpha', [0.0, 1.1])
def test_the_second_slope_lies_in_the_step(alpha):
  with pytest.raises(ValueError, match='alpha must be in'):
    sampling.Heun(alpha=alpha)
