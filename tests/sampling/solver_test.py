"""The order of every solver on every smooth process, against its paper.

A new solver is one line in `DETERMINISTIC` or `STOCHASTIC`. Deterministic ones
run on a mixture and are held against its exact map. Stochastic ones run on a
Gaussian, where their law is propagated exactly, without any sampling.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from tests import analytic
from tests.sampling import affine

pytestmark = pytest.mark.usefixtures('x64')

DETERMINISTIC = {  # (solver, order, source)
  'euler': (sampling.Euler(), 1, 'Karras et al. 2022, section 3'),
  'ddim': (sampling.DDIM(), 1, 'Lu et al. 2022, theorem 3.2, k = 1'),
  'heun': (sampling.Heun(), 2, 'Karras et al. 2022, algorithm 1'),
}
STOCHASTIC = {  # all of weak order 1
  'ddpm': sampling.DDIM(eta=1.0),
  'half': sampling.DDIM(eta=0.5),
  'euler_maruyama': sampling.EulerMaruyama(),
  'reverse_diffusion': sampling.ReverseDiffusion(),
  'predictor_corrector': sampling.PredictorCorrector(
    predictor=sampling.ReverseDiffusion(), corrector=affine.Relaxation()
  ),
}
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
def ends(process):
  """Returns x / alpha [N, B, 2] at the grids' ends, by solver."""
  data = analytic.Mixture()
  # Grids of one length, for one compilation: the last time repeats, and a
  # step of length 0 stays where it is.
  grids = [grid(process, n) for n in COUNTS]
  length = COUNTS[-1] + 1
  grids = jnp.stack([np.pad(g, (0, length - len(g)), 'edge') for g in grids])

  @jax.jit
  @jax.vmap
  def run(times):
    x = process.alpha(times[0]) * PATHS
    found = {
      name: sampling.sample(
        data.denoiser(process), process, solver, x, times,
        sampling.Recorded(x), denoise=False,
      )
      for name, (solver, _, _) in DETERMINISTIC.items()
    }  # fmt: skip
    return jax.tree.map(lambda x: x / process.alpha(times[-1]), found)

  return jax.tree.map(np.asarray, run(grids))


@functools.cache
def exact_ends():
  low, high = SIGMAS
  return np.asarray(analytic.Mixture().flow(EDM, PATHS, high, low))


@pytest.mark.parametrize('name', DETERMINISTIC)
def test_order(smooth, name):
  errors = np.abs(ends(smooth)[name] - exact_ends()).max(axis=(1, 2))
  _, order, _ = DETERMINISTIC[name]
  assert slope(COUNTS, errors) == pytest.approx(order, abs=0.1)


def test_exponential_integrators_do_not_see_the_process(smooth):
  # DDIM is a rule in (x / alpha, lambda): on the same log-SNR grid every
  # process gives what EDM gives.
  ours, theirs = ends(smooth)['ddim'], ends(EDM)['ddim']
  np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@functools.cache
def distances(process):
  """Returns the W2 distances [N] of the stochastic solvers' laws."""
  grids = [grid(process, n) for n in WEAK_COUNTS]
  return affine.distances(process, STOCHASTIC, grids)


@pytest.mark.parametrize('name', STOCHASTIC)
def test_weak_order(smooth, name):
  found = distances(smooth)[name]
  assert slope(WEAK_COUNTS, found) == pytest.approx(1, abs=0.1)
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
