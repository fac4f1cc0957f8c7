"""The adaptive ODE against exact maps, and what it says it cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from difjax import processes, sampling
from difjax.denoising import prediction
from difjax.sampling import ode
from difjax.sampling.samplers import counted
from tests import analytic
from tests.sampling import selected

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Gaussian()
EDM = processes.EDM()
VP = processes.VP()


def start(process, t, n=4):
  z = jax.random.normal(jax.random.key(0), (n, 2))
  return z * jnp.hypot(process.alpha(t), process.sigma(t))


@jax.jit
def solve_selected(number, x, t, s, tolerance):
  """Carries x from t to s on any smooth process: compiled once."""
  process = selected.Selected(number=number)
  return ode.solve(
    DATA.denoiser(process), process, x, t, s, rtol=tolerance, atol=tolerance
  )


def solve(process, x, t, s, tolerance):
  number = selected.EVERY.index(process)
  return solve_selected(number, x, *map(float, (t, s)), tolerance)


def solutions(process, tolerances, solve=solve):
  """Returns errors [T], evaluations [T, B] and the size of x."""
  t, s = process.time_of_logsnr(np.asarray([-5.0, 6.0]))
  x = start(process, t)
  exact = np.asarray(DATA.flow(process, x, t, s))
  ends, costs = zip(
    *(solve(process, x, t, s, float(tol)) for tol in tolerances), strict=True
  )
  errors = [np.abs(np.asarray(end) - exact).max() for end in ends]
  return np.asarray(errors), np.asarray(costs), np.abs(x).max()


def test_exact_map(smooth):
  # A step of six evaluations is estimated to err by at most tol (1 + |x|) in
  # the mean square of an image's two numbers; the estimate may be out by two.
  tolerances = np.asarray([1e-3, 1e-5, 1e-8])
  errors, costs, size = solutions(smooth, tolerances)
  steps = costs.max(axis=1) / 6
  assert np.all(errors < 2 * 2**0.5 * steps * tolerances * (1 + size))
  assert np.all(np.diff(costs, axis=0) > 0)


def test_exact_map_through_a_table():
  # The field jumps at the levels, where the estimate of a step's error sees
  # only a part of it: two digits are lost, on top of those of a smooth field.
  tolerances, table = np.asarray([1e-3, 1e-5]), processes.LinearBetas()
  of_table = jax.jit(
    lambda x, t, s, tol: ode.solve(
      DATA.denoiser(table), table, x, t, s, rtol=tol, atol=tol
    )
  )
  errors, _, _ = solutions(table, tolerances, lambda _, *args: of_table(*args))
  assert np.all(errors < 100 * tolerances)


def test_fewer_evaluations_than_steps_in_time_need():
  # Where time spans four decades, SciPy's steps have to shrink all the way.
  tolerance = 1e-5
  x = start(EDM, 80.0)
  end, cost = solve(EDM, x, 80.0, 0.002, tolerance)
  field = jax.jit(
    lambda t, y: prediction.velocity(
      DATA.denoiser(EDM)(y.reshape(x.shape), t), EDM, t
    ).ravel()
  )
  found = integrate.solve_ivp(
    field, (80.0, 0.002), np.ravel(x), rtol=tolerance, atol=tolerance
  )
  exact = DATA.flow(EDM, x, 80.0, 0.002)
  allowed = tolerance * (1 + np.abs(exact))  # in a step; it may be out by two
  assert np.all(np.abs(end - exact) < 2 * allowed)
  assert cost.max() < found.nfev


def test_there_and_back():
  # The same ODE encodes and decodes: to the sum of both tolerances.
  x = start(VP, 1e-3)
  there, _ = solve(VP, x, 1e-3, 1.0, 1e-8)
  np.testing.assert_allclose(
    there, DATA.flow(VP, x, 1e-3, 1.0), rtol=1e-6, atol=1e-6
  )
  back, _ = solve(VP, there, 1.0, 1e-3, 1e-8)
  np.testing.assert_allclose(back, x, rtol=1e-6, atol=1e-6)


def test_from_nothing_but_noise_to_the_data():
  # Flow matching on all of [0, 1]: the log-SNR is infinite at both ends.
  flow = processes.RectifiedFlow()
  x = start(flow, 1.0)
  end, _ = solve(flow, x, 1.0, 0.0, 1e-8)
  exact = DATA.flow(flow, x, 1.0, 0.0)
  np.testing.assert_allclose(end, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('denoise', [True, False])
def test_evaluations_are_counted_truly(denoise):
  calls = []
  denoiser = counted(analytic.Mixture().denoiser(EDM), lambda: calls.append(1))

  @jax.jit
  def run(x, tolerance):
    sampler = sampling.AdaptiveODE(
      rtol=tolerance, atol=tolerance, denoise=denoise
    )
    return sampler(denoiser, EDM, x, None)[1]

  for tolerance in (1e-2, 1e-6):
    calls.clear()
    evaluations = run(start(EDM, 80.0, n=1), tolerance)
    jax.effects_barrier()
    assert evaluations.shape == (1,)
    assert int(evaluations[0]) == len(calls) > 30


def test_images_do_not_depend_on_the_batch():
  # The first image is a thousand times larger than the others, and takes
  # steps of its own; theirs are as if they were alone.
  sampler = sampling.AdaptiveODE(rtol=1e-4, atol=1e-4)
  denoiser = analytic.Mixture().denoiser(EDM)
  run = jax.jit(lambda x: sampler(denoiser, EDM, x, None))
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
