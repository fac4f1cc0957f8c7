"""The order of every solver on every smooth process, against its paper.

A new solver is one line in `DETERMINISTIC` or `STOCHASTIC`. Deterministic ones
run on a mixture and are held against its exact map. Stochastic ones run on a
Gaussian, where their law is propagated exactly, without any sampling.
"""

from __future__ import annotations

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
SIGMAS = (0.05, 10.0)  # of sigma / alpha: where the grids end, on any process


def grid(process, n, ends=SIGMAS):
  low, high = ends
  return sampling.Karras(steps=n + 1, sigma_min=low, sigma_max=high)(process)


def slope(counts, errors):
  return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize('name', DETERMINISTIC)
def test_order(smooth, name):
  solver, order, _ = DETERMINISTIC[name]
  data, counts = analytic.Mixture(), (80, 160, 320)
  # Grids of one length, for one compilation: the last time repeats, and a
  # step of length 0 stays where it is.
  grids = [grid(smooth, n) for n in counts]
  grids = jnp.stack([np.pad(g, (0, 321 - len(g)), 'edge') for g in grids])
  start, stop = grids[0, 0], grids[0, -1]
  y = 10 * jax.random.normal(jax.random.key(1), (16, 2))
  x = smooth.alpha(start) * y

  @jax.jit
  def run(times):
    return sampling.sample(
      data.denoiser(smooth), smooth, solver, x, times, sampling.Recorded(x),
      denoise=False,
    )  # fmt: skip

  exact = data.flow(smooth, x, start, stop)
  ends = jax.vmap(run)(grids)
  errors = np.max(np.abs(np.asarray(ends) - exact), axis=(1, 2))
  assert slope(counts, errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize('name', STOCHASTIC)
def test_weak_order(smooth, name):
  counts = (256, 512, 1024)
  grids = [grid(smooth, n) for n in counts]
  distances = affine.distances(smooth, STOCHASTIC[name], grids)
  assert slope(counts, distances) == pytest.approx(1, abs=0.1)
  assert distances[-1] < 0.005


def test_weak_error_of_ancestral_sampling():
  # Measured elsewhere, by other code (reference/sampling_eval.md, T2): variance
  # exploding, sigma from 80 to 0.01 on Karras's grid, data N(0.3, 0.25).
  edm = processes.EDM()
  grids = [grid(edm, n, (0.01, 80.0)) for n in (128, 1024)]
  distances = affine.distances(edm, sampling.DDIM(eta=1.0), grids)
  np.testing.assert_allclose(distances, [2.1e-2, 2.7e-3], rtol=0.03)


def test_exponential_integrators_do_not_see_the_process(smooth):
  # DDIM is a rule in (x / alpha, lambda): on the same log-SNR grid every
  # process gives what EDM gives.
  data, y = analytic.Mixture(), jax.random.normal(jax.random.key(0), (8, 2))
  ends = []
  for process in (processes.EDM(), smooth):
    times = grid(process, 20)
    end = sampling.sample(
      data.denoiser(process), process, sampling.DDIM(),
      10 * y * process.alpha(times[0]), times, sampling.Recorded(y),
      denoise=False,
    )  # fmt: skip
    ends.append(np.asarray(end) / np.asarray(process.alpha(times[-1])))
  np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12, atol=1e-12)


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
