"""The order of every solver on every smooth process, against its paper.

A new solver is one line in `DETERMINISTIC` or `STOCHASTIC`. Deterministic ones
run on a mixture and are held against its exact map. Stochastic ones run on a
Gaussian, where their law is propagated exactly, without any sampling.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config, errors, processes, sampling
from tests import analytic
from tests.sampling import affine, selected

pytestmark = pytest.mark.usefixtures('x64')

DETERMINISTIC = {  # (solver, order, source)
  'euler': (sampling.Euler(), 1, 'Karras et al. 2022, section 3'),
  'ddim': (sampling.DDIM(), 1, 'Lu et al. 2022, theorem 3.2, k = 1'),
  'heun': (sampling.Heun(), 2, 'Karras et al. 2022, algorithm 1'),
  'ralston': (sampling.Heun(alpha=2 / 3), 2, 'Karras et al. 2022, algorithm 3'),
  'midpoint': (sampling.Midpoint(rho=3.0), 2, 'a middle to second order'),
  'in_sigma': (
    sampling.InSigma(solver=sampling.Heun()), 2, 'Karras et al. 2022, section 3'
  ),
  'dpm_2': (sampling.DPMSolver2(r=0.4), 2, 'Lu et al. 2022, theorem 3.2'),
  'dpm_3': (sampling.DPMSolver3(), 3, 'Lu et al. 2022, theorem 3.2'),
  'dpm_pp_2s': (
    sampling.DPMSolver2(data=True), 2, 'Lu et al. 2022, DPM-Solver++, 4.1'
  ),
  'dpm_pp_3s': (
    sampling.DPMSolver3(data=True), 3, 'Lu et al. 2022, DPM-Solver++, 4.1'
  ),
}  # fmt: skip
EXPONENTIAL = (
  'ddim', 'in_sigma', 'dpm_2', 'dpm_3', 'dpm_pp_2s', 'dpm_pp_3s',
)  # fmt: skip
HALF = sampling.ReverseDiffusionRate(scale=0.5)  # of the reverse SDE's noise
STOCHASTIC = {  # (solver, weak order)
  'ddpm': (sampling.DDIM(eta=1.0), 1),
  'half': (sampling.DDIM(eta=0.5), 1),
  'euler_maruyama': (sampling.EulerMaruyama(), 1),
  'reverse_diffusion': (sampling.ReverseDiffusion(), 1),
  'predictor_corrector': (
    sampling.PredictorCorrector(
      predictor=sampling.ReverseDiffusion(), corrector=affine.Relaxation()
    ),
    1,
  ),
  # Noise is added exactly: the order is that of the way down.
  'ancestral': (
    sampling.Ancestral(solver=sampling.InSigma(solver=sampling.Euler())), 1
  ),
  'ancestral_2': (sampling.Ancestral(solver=sampling.DPMSolver2()), 2),
  'ancestral_2s': (
    sampling.Ancestral(solver=sampling.DPMSolver2(data=True), eta=0.7), 2
  ),
  # Of order 2 if the look's noise is part of the step's, as it is of the SDE's.
  'dpm_sde': (sampling.DPMPPSDE(), 2),
  'dpm_sde_apart': (sampling.DPMPPSDE(one_path=False), 1),
  'sde_euler': (sampling.SDEEuler(diffusion=HALF), 1),
  'sde_heun': (sampling.SDEHeun(diffusion=HALF), 1),
}  # fmt: skip
EDM = processes.EDM()
SIGMAS = (0.05, 10.0)  # of sigma / alpha: where the grids end, on any process


def grid(process, n, ends=SIGMAS):
  low, high = ends
  return sampling.Karras(steps=n + 1, sigma_min=low, sigma_max=high)(process)


def slope(counts, errors):
  return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


COUNTS, WEAK_COUNTS = (80, 160, 320), (256, 512, 1024)
PATHS = 10 * np.random.default_rng(0).normal(size=(16, 2))


@functools.cache
def every_end():
  """Returns x / alpha [processes, N, B, 2] at the grids' ends, by solver."""
  data = analytic.Mixture()
  # Grids of one length, for one compilation: the last time repeats, and a
  # step of length 0 stays where it is.
  pad = lambda times: np.pad(times, (0, COUNTS[-1] + 1 - len(times)), 'edge')
  grids = np.asarray(
    [[pad(grid(process, n)) for n in COUNTS] for process in selected.EVERY]
  )

  def run(number, times):
    process = selected.Selected(number=number)
    x = process.alpha(times[0]) * PATHS
    found = {
      name: sampling.sample(
        data.denoiser(process), process, solver, x, times,
        sampling.Recorded(x), denoise=False,
      )
      for name, (solver, _, _) in DETERMINISTIC.items()
    }  # fmt: skip
    return jax.tree.map(lambda x: x / process.alpha(times[-1]), found)

  run = jax.jit(jax.vmap(jax.vmap(run, (None, 0))))
  return jax.tree.map(np.asarray, run(selected.NUMBERS, grids))


def ends(process, name):
  return every_end()[name][selected.EVERY.index(process)]


@functools.cache
def exact_ends():
  low, high = SIGMAS
  return np.asarray(analytic.Mixture().flow(EDM, PATHS, high, low))


@pytest.mark.parametrize('name', DETERMINISTIC)
def test_order(smooth, name):
  errors = np.abs(ends(smooth, name) - exact_ends()).max(axis=(1, 2))
  _, order, _ = DETERMINISTIC[name]
  near = 0.1 if order < 3 else 0.15
  assert slope(COUNTS, errors) == pytest.approx(order, abs=near)


@pytest.mark.parametrize('name', EXPONENTIAL)
def test_exponential_integrators_do_not_see_the_process(smooth, name):
  # They are rules in (x / alpha, lambda): on the same log-SNR grid every
  # process gives what EDM gives.
  ours, theirs = ends(smooth, name), ends(EDM, name)
  np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@functools.cache
def every_distance():
  """Returns the W2 distances [processes, N] of the stochastic solvers' laws."""
  grids = [[grid(p, n) for n in WEAK_COUNTS] for p in selected.EVERY]
  rules = {name: rule for name, (rule, _) in STOCHASTIC.items()}
  return affine.every_distance(rules, grids)


@pytest.mark.parametrize('name', STOCHASTIC)
def test_weak_order(smooth, name):
  found = every_distance()[name][selected.EVERY.index(smooth)]
  _, order = STOCHASTIC[name]
  assert slope(WEAK_COUNTS, found) == pytest.approx(order, abs=0.1)
  assert found[-1] < 0.005


def test_weak_error_of_ancestral_sampling():
  # Measured elsewhere, by other code (reference/sampling_eval.md, T2): variance
  # exploding, sigma from 80 to 0.01 on Karras's grid, data N(0.3, 0.25).
  grids = [grid(EDM, n, (0.01, 80.0)) for n in (128, 1024)]
  found = affine.distances(EDM, {'ve': sampling.DDIM(eta=1.0)}, grids)
  np.testing.assert_allclose(found['ve'], [2.1e-2, 2.7e-3], rtol=0.03)


def point_mass(process, solver):
  """Takes one long step where the data are one point, and x_0 is known."""
  data = analytic.Gaussian(mean=0.3, std=0.0)
  t, s = grid(process, 1)
  x = jnp.asarray([[2.0, -1.0]])
  got, _ = solver.step(
    data.denoiser(process), process, (), x, t, s, sampling.Recorded(x)
  )
  np.testing.assert_allclose(got, data.flow(process, x, t, s), rtol=1e-12)


def test_ddim_reaches_a_point_in_one_step(smooth):
  point_mass(smooth, sampling.DDIM())


@pytest.mark.parametrize('solver', [sampling.Euler(), sampling.Heun()])
@pytest.mark.parametrize(
  'process', [processes.EDM(), processes.RectifiedFlow()]
)
def test_straight_paths_are_followed_in_one_step(process, solver):
  point_mass(process, solver)


HEUN, GRID = sampling.Heun(), sampling.Karras(steps=4)
INTERVAL = sampling.Interval(low=1.0, high=9.0, times=3)
WRAPPERS = {  # what takes a solver and moves x between its steps
  'Ancestral': lambda s: sampling.Ancestral(solver=s),
  'Churned': lambda s: sampling.Churned(solver=s, churn=2.0),
  'Resampled': lambda s: sampling.Resampled(solver=s, visits=2),
  'PredictorCorrector': lambda s: sampling.PredictorCorrector(
    predictor=s, corrector=sampling.Langevin()
  ),
  'CorrectedGrid': lambda s: sampling.CorrectedGrid(
    predictor=s, corrector=sampling.Langevin(), grid=GRID
  ),
  'Restart': lambda s: sampling.Restart(
    solver=s, grid=GRID, intervals=(INTERVAL,)
  ),
  'FixedGrid': lambda s: sampling.FixedGrid(solver=HEUN, grid=GRID, last=s),
}


@pytest.mark.parametrize('name', WRAPPERS)
@pytest.mark.parametrize(
  'solver', [sampling.UniPC(), sampling.InSigma(solver=sampling.IPNDM())]
)
def test_multistep_solvers_are_refused_where_x_moves(name, solver):
  message = f'^{name} takes single-step solvers .* builds on earlier steps$'
  with pytest.raises(ValueError, match=message):
    WRAPPERS[name](solver)


def test_a_config_is_refused_in_one_line():
  spec = {
    'type': 'sampling.Resampled', 'solver': {'type': 'sampling.DPMSolverPP'}
  }  # fmt: skip
  with pytest.raises(errors.ConfigError) as caught:
    config.build({'type': 'sampling.FixedGrid', 'solver': spec,
                  'grid': {'type': 'sampling.Karras', 'steps': 4}})
  assert str(caught.value) == (
    'config.solver (sampling.Resampled): Resampled takes single-step solvers '
    'such as sampling.DPMSolver2, and DPMSolverPP builds on earlier steps'
  )


def in_a_sampler(name, solver):
  made = WRAPPERS[name](solver)
  if hasattr(made, 'grid'):
    return made
  return sampling.FixedGrid(solver=made, grid=GRID)


@dataclasses.dataclass(frozen=True)
class Noise:
  """Known draws, and a list of the places that they came from."""

  used: list
  step: int = 0

  def at(self, step):
    return Noise(self.used, int(step))

  def normal(self, slot, like):
    self.used.append((self.step, int(slot)))
    return jnp.full_like(like, np.sin(slot))


def ran(name, solver):
  """Returns where a sampler ends, and the places of its draws."""
  noise, x = Noise([]), jnp.asarray([[3.0, -50.0]])
  denoiser = analytic.Mixture().denoiser(EDM)
  with jax.disable_jit():  # the loops are Python's
    end, _ = in_a_sampler(name, solver)(denoiser, EDM, x, noise)
  return end, noise.used


@pytest.mark.parametrize('name', WRAPPERS)
def test_wrappers_show_their_solver_the_grid(name):
  # Churn knows its growth by the length of the grid: S_churn / N.
  ends = [
    ran(name, sampling.Churned(solver=HEUN, **how))[0]
    for how in ({'churn': 0.8}, {'growth': 0.2})
  ]
  assert np.all(np.isfinite(ends))
  np.testing.assert_allclose(*ends, rtol=1e-12)


@pytest.mark.parametrize('name', ['Ancestral', 'Churned', 'Restart'])
def test_the_solver_inside_draws_noise_of_its_own(name):
  _, used = ran(name, sampling.DDIM(eta=1.0))
  drawn = [place for place in used if name != 'Restart' or place[1]]
  assert len(drawn) == len(set(drawn)) >= 5
