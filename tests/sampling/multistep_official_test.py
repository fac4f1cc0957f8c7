"""Multistep solvers against diffusers and k-diffusion, step by step."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.denoising import targets
from difjax.processes import discrete
from tests.sampling import official

RECORDED = official.load('multistep')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledLinear(discrete.Betas):
  """The levels of Stable Diffusion: betas linear in their root."""

  def betas(self):
    return np.linspace(0.00085**0.5, 0.012**0.5, self.levels) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlmostZeroTerminal(discrete.Betas):
  """Its `rescale_betas_zero_snr`, which multistep solvers end at 2^-24."""

  def betas(self):
    kept = RECORDED['dpmpp2m_zsnr__alphas_cumprod']
    return 1 - kept / np.append(1, kept[:-1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """How an official scheduler is said here.

  Attributes:
    solver: the solver.
    process: the process.
    grid: the times; None: those of the official levels.
    target: what the network puts out.
    to: times after the grid's, of no evaluation.
    denoise: the official last step is to sigma = 0, and of order 1.
  """

  solver: object
  process: object = ScaledLinear()
  grid: object = None
  target: object = denoising.Noise()
  to: tuple[float, ...] = ()
  denoise: bool = True


PP, EPS, UNIPC = (
  sampling.DPMSolverPP, sampling.MultistepDPMSolver, sampling.UniPC
)  # fmt: skip
KARRAS, EVEN = sampling.Karras(steps=10), sampling.LogSNR(steps=10)
DEIS = functools.partial(
  sampling.DEIS, coordinate=sampling.LogSNRCoordinate()
)
# "sigma_min" ends at the first level, without a step to the data.
SHORT = functools.partial(Case, to=(1e-3,), denoise=False)
RATIOS = functools.partial(
  Case, process=processes.EDM(), to=(0.0,), denoise=False
)
FLOW = functools.partial(
  Case, process=processes.RectifiedFlow(), target=denoising.Velocity()
)
CASES = {
  'dpmpp1': Case(solver=PP(order=1)),
  'dpmpp2m_sd': Case(solver=PP(final_order=2)),
  'dpmpp2m_heun': Case(solver=PP(midpoint=False)),
  'dpmpp2m_karras': Case(solver=PP(), grid=KARRAS),
  'dpmpp2m_lu': Case(solver=PP(), grid=EVEN),
  'dpmpp2m_leading_eulerfinal': Case(solver=PP()),
  'dpmpp2m_sigmamin': SHORT(solver=PP(final_order=1)),
  'dpmpp2m_v': Case(solver=PP(), target=denoising.V()),
  'dpmpp2m_zsnr': Case(
    solver=PP(), process=AlmostZeroTerminal(), target=denoising.V()
  ),
  'dpmpp2m_cos_clip': Case(solver=PP(), process=processes.CosineBetas()),
  'dpmpp2m_flow': FLOW(solver=PP()),
  'dpmpp3m': Case(solver=PP(order=3, shipped=True, final_order=2)),
  'dpmpp3m_heun': SHORT(
    solver=PP(order=3, shipped=True, midpoint=False, final_order=1)
  ),
  'dpmpp3m_nolower': SHORT(solver=PP(order=3, shipped=True)),
  'dpm2_eps': SHORT(solver=EPS(final_order=1)),
  'dpm3_eps': SHORT(solver=EPS(order=3, shipped=True, final_order=1)),
  'unipc_bh2_2': Case(solver=UNIPC(final_order=2)),
  'unipc_bh2_3': Case(solver=UNIPC(order=3, final_order=2)),
  'unipc_bh1_2': SHORT(solver=UNIPC(bh1=True, final_order=1)),
  'unipc_eps': SHORT(solver=UNIPC(data=False, final_order=1)),
  'unipc3_eps': SHORT(solver=UNIPC(order=3, data=False, final_order=1)),
  'unipc3_sigmamin': SHORT(solver=UNIPC(order=3)),
  'unipc_karras': Case(solver=UNIPC(), grid=KARRAS),
  'unipc_nocorr': Case(solver=UNIPC(uncorrected=(0, 1))),
  'unipc_flow': FLOW(solver=UNIPC()),
  'deis2': SHORT(solver=DEIS(order=2, final_order=1)),
  'deis3': SHORT(solver=DEIS(order=3, final_order=1)),
  'deis3_karras': Case(  # the official last step is of length 0
    solver=DEIS(order=3, final_order=2), grid=KARRAS, denoise=False
  ),
  'lms': RATIOS(solver=sampling.LMS()),
  'lms_karras': RATIOS(solver=sampling.LMS()),
  'ipndm': Case(
    solver=sampling.IPNDM(), process=processes.Cosine(), target=denoising.V(),
    to=(0.0,), denoise=False,
  ),
}  # fmt: skip
KDIFFUSION = {
  'lms': sampling.LMS(),
  'lms3': sampling.LMS(order=3),
  'dpmpp_2m': PP(),
}


def times(name):
  """Returns where the solver stops, in the process's time."""
  case, levels = CASES[name], RECORDED[f'{name}__timesteps']
  if case.grid is not None:
    grid = case.grid(case.process)
  elif f'{name}__sigmas' in RECORDED:
    grid = RECORDED[f'{name}__sigmas'][:-1]
  else:
    whole = np.issubdtype(levels.dtype, np.integer)
    grid = (levels + 1) / 1000 if whole else levels
  return np.append(grid, case.to)


def official_denoiser(name):
  """The closed-form network of the official runs, as a denoiser."""
  case, stops = CASES[name], times(name)
  mu, s0 = (RECORDED[key].astype(np.float64) for key in ('mu', 's0'))
  levels = RECORDED[f'{name}__timesteps']

  def denoise(x, t):
    nearest = jnp.argmin(jnp.abs(jnp.asarray(stops, x.dtype) - t))
    u = (jnp.asarray(levels, x.dtype)[nearest] + 1) / 1000
    scale = 1 / jnp.sqrt(1 + t**2) if case.to == (0.0,) else 1.0
    y = scale * x if case.target == denoising.Noise() else x
    a2 = jnp.exp(-0.1 * u - 9.95 * u**2)
    a, s = jnp.sqrt(a2), jnp.sqrt(1 - a2)
    eps = s * (y - a * mu) / (a2 * s0**2 + s**2) + 0.1 * jnp.sin(3 * y)
    outputs = {
      denoising.Noise(): eps,
      denoising.V(): a * eps - s * (y - s * eps) / a,
      denoising.Velocity(): 0.3 * jnp.sin(2 * y) + eps - u * y,
    }
    return targets.invert(case.target, case.process, outputs[case.target], x, t)

  return denoise


def run(name, dtype):
  """Returns x [steps + 1, B, ...], from the official start."""
  case, denoise, stops = CASES[name], official_denoiser(name), times(name)
  x = jnp.asarray(RECORDED[f'{name}__traj__f64'][0], dtype)
  steps = sampling.trajectory(
    denoise, case.process, case.solver, x, stops, sampling.Recorded(x)
  )
  if not case.denoise:
    return steps
  last = denoise(steps[-1], jnp.asarray(stops[-1], dtype)).x0
  return jnp.concatenate([steps, last[None]])


@functools.cache
def trajectories(dtype):
  def every():
    found = {name: run(name, dtype) for name in CASES}
    mixture, edm = official.mixture(RECORDED), processes.EDM()
    for name, solver in KDIFFUSION.items():
      x = jnp.asarray(RECORDED[f'k_{name}__traj__f64'][0], dtype)
      found[f'k_{name}'] = sampling.trajectory(
        mixture, edm, solver, x, RECORDED['sigmas_karras__f64'],
        sampling.Recorded(x),
      )  # fmt: skip
    return found

  return official.eagerly(every)


NAMES = [*CASES, *(f'k_{name}' for name in KDIFFUSION)]


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', NAMES)
def test_every_step_is_the_official_one(name):
  exact, found = RECORDED[f'{name}__traj__f64'], trajectories(np.float64)[name]
  assert len(found) == len(exact) - (name == 'deis3_karras')
  for x, y in zip(found, exact, strict=False):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-9 * np.abs(y).max())


@pytest.mark.parametrize('name', NAMES)
def test_float32_is_within_the_official_tolerance(name):
  exact = RECORDED[f'{name}__traj']
  rounding = np.abs(exact - RECORDED[f'{name}__traj__f64']).max()
  with jax.enable_x64(False):
    found = trajectories(np.float32)[name]
  assert found.dtype == np.float32
  tolerance = 10 * rounding + 2e-6 * np.abs(exact).max()
  np.testing.assert_allclose(
    found, exact[: len(found)], rtol=0, atol=tolerance
  )


@pytest.mark.usefixtures('x64')
def test_the_shipped_third_order_is_not_the_right_one():
  # What parity with the official code costs: its third order is another rule.
  name = 'dpmpp3m_nolower'
  exact = RECORDED[f'{name}__traj__f64']
  x = jnp.asarray(exact[0])
  found = sampling.sample(
    official_denoiser(name), ScaledLinear(), PP(order=3), x, times(name),
    sampling.Recorded(x), denoise=False,
  )  # fmt: skip
  assert np.abs(found - exact[-1]).max() > 1e-4
