"""Stochastic and single-step schedulers of diffusers, step by step."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.denoising import targets
from difjax.processes import discrete
from tests.sampling import official


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledLinear(discrete.Betas):
  """The levels of Stable Diffusion: betas linear in their root."""

  def betas(self):
    return np.linspace(0.00085**0.5, 0.012**0.5, self.levels) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """How an official scheduler is said here; x ends at t_N or at the data."""

  solver: object
  grid: object
  process: object = ScaledLinear()
  network: int = 0  # puts out eps, v, x_0
  clip: bool = False  # x_0 to [-1, 1]
  derive: bool = False  # eps from the clipped x_0
  rounded: bool = False  # the network sees whole levels only
  level0: bool = False  # the last step is to level 0, by the last solver
  denoise: bool = True
  unscaled: bool = False  # the official x is x / alpha


RECORDED = official.load('diffusers_schedulers')
DDIM, DDPM = sampling.DDIM, sampling.DDIM(eta=1.0)
LINEAR, COSINE = processes.LinearBetas(), processes.CosineBetas()
LEADING = sampling.LeadingLevels(steps=10)
OFFSET = sampling.LeadingLevels(steps=10, offset=1)
EVEN, KARRAS = sampling.Uniform(steps=10), sampling.Karras(steps=10)
TRAILING = sampling.TrailingLevels(steps=10)
SPARE = sampling.Levels(steps=10, spare=1)
SDE = sampling.SDEDPMSolverPP
EULER = sampling.InSigma(solver=sampling.Euler())
HEUN = sampling.InSigma(solver=sampling.Heun())
CHURN = sampling.DiffusersChurned(
  solver=sampling.Euler(), churn=4.0, low=0.05, high=8.0, noise_scale=1.01
)
IN_SIGMA = functools.partial(Case, unscaled=True)
CASES = {
  'ddim_sd': Case(solver=DDIM(), grid=OFFSET, level0=True, denoise=False),
  'ddim_base': Case(solver=DDIM(), grid=LEADING, process=LINEAR, clip=True),
  'ddim_cos': Case(solver=DDIM(), grid=LEADING, process=COSINE, clip=True),
  'ddim_eta1_clip': Case(
    solver=DDPM, grid=LEADING, process=LINEAR, clip=True, derive=True
  ),
  'ddpm_base': Case(
    solver=DDPM, grid=LEADING, process=LINEAR, clip=True, derive=True
  ),
  'ddpm_cos': Case(
    solver=DDPM, grid=LEADING, process=COSINE, network=2, clip=True, derive=True
  ),
  'ddpm_trailing': Case(
    solver=DDPM, grid=TRAILING, process=LINEAR, clip=True, derive=True
  ),
  'sde_dpmpp1': Case(solver=SDE(order=1), grid=SPARE),
  'sde_dpmpp2m': Case(solver=SDE(), grid=SPARE),
  'sde_dpmpp2m_karras_heun': Case(
    solver=SDE(midpoint=False), grid=KARRAS, rounded=True
  ),
  'sde_dpm2': Case(
    solver=sampling.SDEDPMSolver(final_order=1),
    grid=sampling.Levels(steps=11), denoise=False,
  ),
  'euler_sd': IN_SIGMA(solver=EULER, grid=OFFSET),
  'euler_base': IN_SIGMA(solver=EULER, grid=EVEN),
  'euler_karras': IN_SIGMA(solver=EULER, grid=KARRAS),
  'euler_trailing_v': IN_SIGMA(solver=EULER, grid=TRAILING, network=1),
  'euler_churn': IN_SIGMA(solver=sampling.InSigma(solver=CHURN), grid=EVEN),
  'heun_base': IN_SIGMA(solver=HEUN, grid=EVEN),
  'heun_karras': IN_SIGMA(solver=HEUN, grid=KARRAS),
  'heun_leading': IN_SIGMA(solver=HEUN, grid=OFFSET),
}  # fmt: skip


def official_denoiser(case):
  """The closed-form network of the official runs, as a denoiser."""
  mu, s0 = RECORDED['mu'].astype(float), RECORDED['s0'].astype(float)
  target = (denoising.Noise(), denoising.V(), denoising.Data())[case.network]

  def denoise(x, t):
    u = jnp.round(t * 1000) / 1000 if case.rounded else t
    a2 = jnp.exp(-0.1 * u - 9.95 * u**2)
    a, s = jnp.sqrt(a2), jnp.sqrt(1 - a2)
    eps = s * (x - a * mu) / (a2 * s0**2 + s**2) + 0.1 * jnp.sin(3 * x)
    x0 = (x - s * eps) / a
    output = (eps, a * eps - s * x0, x0)[case.network]
    pair = targets.invert(target, case.process, output, x, t)
    if not case.clip:
      return pair
    x0 = jnp.clip(pair.x0, -1, 1)
    if not case.derive:
      return pair._replace(x0=x0)
    return targets.invert(denoising.Data(), case.process, x0, x, t)

  return denoise


def times(case):
  grid = case.grid(case.process)
  return np.append(grid, 1 / case.process.levels) if case.level0 else grid


def run(name, case):
  """Returns x [steps + 1, B, ...] as the official code has it."""
  denoise, grid = official_denoiser(case), times(case)
  scale = jnp.ones(len(grid))
  if case.unscaled:
    scale = case.process.alpha(jnp.asarray(grid))
  first = RECORDED[f'{name}__traj__f64'][0] * scale[0]
  steps = sampling.trajectory(
    denoise, case.process, case.solver, first, grid,
    sampling.Recorded(draws(name, case)[:, None]),
  )  # fmt: skip
  last = denoise(steps[-1], jnp.asarray(grid[-1])).x0[None]
  steps = steps / scale.reshape(-1, *[1] * (steps.ndim - 1))
  return jnp.concatenate([steps, last]) if case.denoise else steps


def draws(name, case):
  """The noise of every step, for those that the official code skips too."""
  key = f'{name}__noises'
  if key not in RECORDED:
    return np.full((1, *RECORDED['x_init'].shape), np.nan)
  drawn = RECORDED[key].astype(float)
  if case.solver is not DDPM and len(drawn) < 10:  # churn: within S_min, S_max
    sigma = RECORDED[f'{name}__sigmas'][:-1]
    rows = np.flatnonzero((sigma >= CHURN.low) & (sigma <= CHURN.high))
    full = np.zeros((10, *drawn.shape[1:]))
    full[rows] = drawn
    return full
  return drawn


@functools.cache
def trajectories():
  every = lambda: {n: run(n, case) for n, case in CASES.items()}
  return official.eagerly(every)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', CASES)
def test_every_step_is_the_official_one(name):
  exact = RECORDED[f'{name}__traj__f64']
  if CASES[name].solver is HEUN:  # both calls of a step are recorded
    exact = np.concatenate([exact[::2], exact[-1:]])
  got = trajectories()[name]
  assert len(got) == len(exact)
  for x, y in zip(got, exact, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-6 * np.abs(y).max())


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', CASES)
def test_levels_are_the_official_ones(name):
  case = CASES[name]
  index = case.grid(case.process) * case.process.levels - 1
  exact = np.unique(RECORDED[f'{name}__timesteps'])[::-1]
  index = np.round(index) if case.rounded else index
  np.testing.assert_allclose(index[: len(exact)], exact, atol=2e-3)
  if f'{name}__sigmas' in RECORDED:
    sigma = np.exp(-0.5 * case.process.logsnr(case.grid(case.process)))
    exact = RECORDED[f'{name}__sigmas']
    exact = np.unique(exact[exact > 0])[::-1]
    np.testing.assert_allclose(sigma[: len(exact)], exact, rtol=1e-4)


@pytest.mark.usefixtures('x64')
def test_official_ddim_of_even_levels():
  """There diffusers steps 100 levels down, and goes on 111 levels down."""
  case = Case(solver=DDIM(), grid=EVEN)
  denoise, process = official_denoiser(case), case.process
  index = np.round(np.linspace(999, 0, 10))
  np.testing.assert_array_equal(RECORDED['ddim_linspace__timesteps'], index)
  x = jnp.asarray(RECORDED['ddim_linspace__traj__f64'][0])
  for i, exact in zip(
    index, RECORDED['ddim_linspace__traj__f64'][1:], strict=True
  ):
    t = process.time(i)
    if i < 100:
      x = denoise(x, t).x0
    else:
      s = process.time(i - 100)
      x, _ = DDIM().step(denoise, process, (), x, t, s, None)
    np.testing.assert_allclose(x, exact, atol=1e-6 * np.abs(exact).max())
