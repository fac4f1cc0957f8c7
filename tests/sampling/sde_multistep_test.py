"""The laws of multistep SDE solvers, by exact propagation."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from tests import analytic
from tests.sampling import selected

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()
DATA = analytic.Gaussian()
COUNTS = (256, 512, 1024)
PP, EPS = sampling.SDEDPMSolverPP, sampling.SDEDPMSolver
SOLVERS = {  # (solver, weak order)
  '1': (PP(order=1), 1),
  '2_midpoint': (PP(), 2),
  '2': (PP(midpoint=False), 2),
  '2_half': (PP(eta=0.5), 2),
  '3': (PP(order=3), 2),
  '3_shipped': (PP(order=3, shipped=True), 2),
  '3_diffusers': (sampling.DiffusersSDEDPMSolverPP(), 1),
  'eps_1': (EPS(order=1), 1),
  'eps_2': (EPS(), 2),
  'eps_2_exact': (EPS(midpoint=False), 2),
}


def distances(solver, every, grids):
  """W2 [processes] to the exact law after a grid, from that at its start.

  On Gaussian data m is affine in x, so a row of the table is affine in x and
  the values before it, and the mean and the covariance of these propagate.

  Args:
    solver: the solver.
    every: processes.
    grids: the times [N] of each.
  """
  steps, shifts, drawn, mean, variance = (
    np.stack(part, axis=1)
    for part in zip(*map(functools.partial(affine, solver), every, grids),
                    strict=True)
  )
  size = steps.shape[-1]
  m, c = np.zeros((len(every), size)), np.zeros((len(every), size, size))
  m[:, 0], c[:, 0, 0] = mean[0], variance[0]
  for step, shift, noise in zip(steps, shifts, drawn, strict=True):
    m = (step @ m[..., None])[..., 0] + shift
    c = step @ c @ step.swapaxes(1, 2)
    c[:, 0, 0] += noise**2
  return np.hypot(m[:, 0] - mean[1], c[:, 0, 0] ** 0.5 - variance[1] ** 0.5)


def affine(solver, process, times):
  """Returns each step's matrix, shift and noise, and the marginals.

  Of the vector (x, values of m, newest first).
  """
  tabled = solver.plan(process, times)
  table, count = tabled.table, len(times) - 1
  x = jnp.stack([jnp.zeros(len(times)), jnp.ones(len(times))])[..., None]
  seen = [DATA.denoiser(process)(row, jnp.asarray(times)) for row in x]
  zero, one = (
    np.asarray(p.x0 if tabled.data else p.eps)[:-1, 0] for p in seen
  )
  size = table.outputs.shape[1]
  step, shift = np.zeros((count, size, size)), np.zeros((count, size))
  step[:, 0, 0] = table.state + table.outputs[:, 0] * (one - zero)
  step[:, 0, 1:] = table.outputs[:, 1:]
  shift[:, 0] = table.outputs[:, 0] * zero
  if size > 1:
    step[:, 1, 0], shift[:, 1] = one - zero, zero
    step[:, 2:, 1:-1] = np.eye(size - 2)
  mean, variance = map(np.asarray, DATA.marginal(process, times[[0, -1]]))
  return step, shift, table.drawn, mean, variance


def distance(process, solver, times):
  return distances(solver, [process], [times])[0]


def slope(errors):
  return -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]


@functools.cache
def grids(n):
  karras = sampling.Karras(steps=n + 1, sigma_min=0.05, sigma_max=10.0)
  return [karras(process) for process in selected.EVERY]


@functools.cache
def every_distance(name):
  """Returns the W2 distances [N, processes]."""
  solver, _ = SOLVERS[name]
  return np.asarray(
    [distances(solver, selected.EVERY, grids(n)) for n in COUNTS]
  )


@pytest.mark.parametrize('name', SOLVERS)
def test_weak_order(smooth, name):
  errors = every_distance(name)[:, selected.EVERY.index(smooth)]
  assert slope(errors) == pytest.approx(SOLVERS[name][1], abs=0.1)


@pytest.mark.parametrize(
  ('solver', 'karras', 'even'),
  [
    (PP(order=1), (2.1e-2, 2.7e-3), (1.7e-2, 2.2e-3)),
    (PP(), (1.0e-3, 1.5e-5), (4.1e-4, 6.4e-6)),
    (PP(midpoint=False), (1.7e-3, 2.6e-5), (8.4e-4, 1.3e-5)),
    (PP(order=3, midpoint=False, shipped=True), (4.8e-4, 8.0e-6),
     (2.8e-4, 4.3e-6)),
  ],
)  # fmt: skip
def test_weak_errors(solver, karras, even):
  # Measured elsewhere, by other code (reference/sampling_eval.md, T2): data
  # N(0.3, 0.25), sigma from 80 to 0.01, 128 and 1,024 steps on two grids.
  grids = (sampling.Karras, karras), (sampling.Polyexponential, even)
  for make, exact in grids:
    found = []
    for n in (128, 1024):
      grid = make(steps=n + 1, sigma_min=0.01, sigma_max=80.0)
      found.append(distance(EDM, solver, grid(EDM)))
    np.testing.assert_allclose(found, exact, rtol=0.06)


def test_the_third_order_of_diffusers_is_of_the_first():
  # Measured elsewhere, likewise: 7.6e-4 at 1,024 steps.
  grid = sampling.Polyexponential(steps=1025, sigma_min=0.01, sigma_max=80.0)
  solver = sampling.DiffusersSDEDPMSolverPP(midpoint=False)
  found = distance(EDM, solver, grid(EDM))
  np.testing.assert_allclose(found, 7.6e-4, rtol=0.06)


def test_one_step_of_order_one_by_hand():
  # DPM-Solver++, appendix B: h = log(sigma_t / sigma_s) on the EDM process.
  h, x, z = np.log(4.0 / 1.0), 2.0, 0.7
  d = float(DATA.denoiser(EDM)(jnp.asarray([[x]]), 4.0).x0[0, 0])
  exact = np.exp(-2 * h) * x - np.expm1(-2 * h) * d
  exact += 1.3 * np.sqrt(-np.expm1(-2 * h)) * z
  got = sampling.sample(
    DATA.denoiser(EDM), EDM, PP(noise_scale=1.3), jnp.asarray([[x]]),
    np.asarray([4.0, 1.0]), sampling.Recorded(np.full((1, 1, 1, 1), z)),
    denoise=False,
  )  # fmt: skip
  np.testing.assert_allclose(got, [[exact]], rtol=1e-9)


def test_one_step_on_eps_by_hand():
  # x - 2 sigma_s (e^h - 1) eps + sigma_s sqrt(e^{2h} - 1) z.
  x, z = 2.0, 0.7
  eps = float(DATA.denoiser(EDM)(jnp.asarray([[x]]), 4.0).eps[0, 0])
  got = sampling.sample(
    DATA.denoiser(EDM), EDM, EPS(), jnp.asarray([[x]]), np.asarray([4.0, 1.0]),
    sampling.Recorded(np.full((1, 1, 1, 1), z)), denoise=False,
  )  # fmt: skip
  np.testing.assert_allclose(
    got, [[x - 2 * 3 * eps + np.sqrt(15) * z]], rtol=1e-9
  )


@pytest.mark.parametrize(
  ('stochastic', 'ode'),
  [
    (PP(eta=0.0), sampling.DPMSolverPP()),
    (EPS(eta=0.0), sampling.MultistepDPMSolver()),
  ],
)
def test_no_noise_is_the_ode(smooth, stochastic, ode):
  grid = sampling.Karras(steps=6, sigma_min=0.1, sigma_max=5.0)(smooth)
  ours, theirs = (rule.plan(smooth, grid).table for rule in (stochastic, ode))
  assert ours.drawn is None
  np.testing.assert_allclose(ours.state, theirs.state, rtol=1e-12)
  np.testing.assert_allclose(ours.outputs, theirs.outputs, rtol=1e-12)


@pytest.mark.parametrize('kind', [PP, EPS])
def test_noise_may_be_scaled(kind):
  grid = np.asarray([4.0, 2.0, 1.0])
  plain, scaled = (
    kind(eta=0.5, noise_scale=scale).plan(EDM, grid).table
    for scale in (1.0, 1.3)
  )
  np.testing.assert_allclose(scaled.drawn, 1.3 * plain.drawn, rtol=1e-12)
  np.testing.assert_array_equal(scaled.outputs, plain.outputs)
