"""The adaptive ODE against exact maps, and what it says it cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from difjax.sampling import ode
from difjax.sampling.samplers import counted
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Gaussian()
EDM = processes.EDM()
VP = processes.VP()


def start(process, t, n=4):
  z = jax.random.normal(jax.random.key(0), (n, 2))
  return z * jnp.hypot(process.alpha(t), process.sigma(t))


def check_map(process):
  t, s = process.time_of_logsnr(np.asarray([-5.0, 6.0]))
  x = start(process, t)
  exact = np.asarray(DATA.flow(process, x, t, s))
  solve = jax.jit(
    lambda tol: ode.solve(
      DATA.denoiser(process), process, x, t, s, rtol=tol, atol=tol
    )
  )
  costs = []
  for tolerance in (1e-3, 1e-5, 1e-8):
    got, evaluations = solve(tolerance)
    # The tolerance is a step's, and a solve has ten to fifty of them.
    assert np.abs(np.asarray(got) - exact).max() < 50 * tolerance
    costs.append(np.asarray(evaluations))
  assert np.all(np.diff(costs, axis=0) > 0)


def test_exact_map(smooth):
  check_map(smooth)


def test_exact_map_through_a_table():
  # Its field jumps at the levels; the step control has to cope.
  check_map(processes.LinearBetas(levels=20))


def test_there_and_back():
  # The same ODE encodes and decodes: to the sum of both tolerances.
  x = start(VP, 1e-3)
  carry = jax.jit(
    lambda x, t, s: ode.solve(
      DATA.denoiser(VP), VP, x, t, s, rtol=1e-8, atol=1e-8
    )[0]
  )
  there = carry(x, 1e-3, 1.0)
  np.testing.assert_allclose(
    there, DATA.flow(VP, x, 1e-3, 1.0), rtol=1e-6, atol=1e-6
  )
  np.testing.assert_allclose(carry(there, 1.0, 1e-3), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('tolerance', [1e-2, 1e-6])
@pytest.mark.parametrize('denoise', [True, False])
def test_evaluations_are_counted_truly(tolerance, denoise):
  calls = []
  denoiser = counted(analytic.Mixture().denoiser(EDM), lambda: calls.append(1))
  sampler = sampling.AdaptiveODE(
    rtol=tolerance, atol=tolerance, denoise=denoise
  )
  run = jax.jit(lambda x: sampler(denoiser, EDM, x, None))
  _, evaluations = run(start(EDM, 80.0, n=1))
  jax.effects_barrier()
  assert evaluations.shape == (1,)
  assert int(evaluations[0]) == len(calls)


def test_images_do_not_depend_on_the_batch():
  # The first image is a thousand times larger than the others, and takes
  # steps of its own; theirs are as if they were alone.
  sampler = sampling.AdaptiveODE(rtol=1e-4, atol=1e-4)
  run = jax.jit(lambda x: sampler(analytic.Mixture().denoiser(EDM), EDM, x, None))
  x = start(EDM, 80.0).at[0].multiply(1000.0)
  whole, cost = run(x)
  turned, turned_cost = run(x[::-1])
  np.testing.assert_allclose(turned[::-1], whole, rtol=1e-12)
  np.testing.assert_array_equal(turned_cost[::-1], cost)
  alone, alone_cost = run(x.at[0].set(x[1]))
  np.testing.assert_allclose(alone[1:], whole[1:], rtol=1e-12)
  np.testing.assert_array_equal(alone_cost[1:], cost[1:])
  assert cost[0] != alone_cost[0]


def test_ends_at_the_denoised_image():
  sampler = sampling.AdaptiveODE(rtol=1e-7, atol=1e-7)
  x = start(EDM, 80.0)
  got, _ = jax.jit(lambda x: sampler(DATA.denoiser(EDM), EDM, x, None))(x)
  end = DATA.flow(EDM, x, 80.0, EDM.t_min)
  np.testing.assert_allclose(
    got, DATA.denoiser(EDM)(end, EDM.t_min).x0, atol=1e-5
  )


def test_too_few_steps_are_nan_and_not_wrong():
  x = start(EDM, 80.0)
  got, _ = ode.solve(
    DATA.denoiser(EDM), EDM, x, 80.0, 0.002, rtol=1e-8, atol=1e-8, max_steps=3
  )
  assert np.all(np.isnan(got))
