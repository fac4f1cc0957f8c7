"""Restart sampling by hand, and its law by exact propagation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from difjax.sampling.samplers import counted
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()
DATA = analytic.Gaussian()


def test_route():
  sampler = sampling.Restart(
    solver=sampling.Heun(), grid=sampling.Table(times=(9.0, 4.0, 1.0)),
    intervals=(
      sampling.Interval(low=3.9, high=16.0, times=3, repeats=2, rho=2.0),
    ),
  )  # fmt: skip
  # The nearest time to 3.9 is 4; between 4 and 16 the roots' middle is 9.
  again = [(4, 16, 9), (9, 9, 4)]
  exact = [(9, 9, 4), *again, *again, (4, 4, 1)]
  np.testing.assert_allclose(sampler.route(EDM), exact, rtol=1e-9)


def test_by_hand():
  # Data at 0: on the EDM process a step from t to s is x s / t.
  point = analytic.Gaussian(mean=0.0, std=0.0)
  sampler = sampling.Restart(
    solver=sampling.Heun(), grid=sampling.Table(times=(8.0, 2.0, 1.0)),
    intervals=(sampling.Interval(low=2.0, high=4.0, times=4, repeats=2),),
    noise_scale=1.1, denoise=False,
  )  # fmt: skip
  draws = np.asarray([0.5, -3.0])
  x, _ = sampler(
    point.denoiser(EDM), EDM, jnp.asarray([[16.0]]),
    sampling.Recorded(draws.reshape(2, 1, 1, 1)),
  )  # fmt: skip
  exact = 16.0 / 4
  for z in draws:
    exact = (exact + 1.1 * np.sqrt(12) * z) / 2
  np.testing.assert_allclose(x, [[exact / 2]], rtol=1e-9)


def test_evaluations_are_those_of_the_paper():
  # Xu et al. 2023: ImageNet 64, 36 steps and five intervals are 203.
  intervals = (
    (19.35, 40.79, 4, 1), (1.09, 1.92, 4, 1), (0.59, 1.09, 4, 5),
    (0.30, 0.59, 4, 5), (0.06, 0.30, 6, 6),
  )  # fmt: skip
  sampler = sampling.Restart(
    solver=sampling.Heun(), grid=sampling.Karras(steps=36),
    intervals=tuple(
      sampling.Interval(low=low, high=high, times=times, repeats=repeats)
      for low, high, times, repeats in intervals
    ),
  )  # fmt: skip
  noise = sampling.Keys(sampling.image_keys(0, np.arange(1)))
  calls = []
  denoiser = counted(DATA.denoiser(EDM), lambda: calls.append(1))
  _, evaluations = sampler(denoiser, EDM, jnp.ones((1, 1)), noise)
  jax.effects_barrier()
  assert len(calls) == int(evaluations[0]) == 203


COUNTS = (128, 256, 512)


def end(process, steps, x, z):
  """Returns the grid's ends, and where x ends given the restarts' draws z."""
  grid = sampling.Karras(steps=steps + 1, sigma_min=0.05, sigma_max=10.0)
  interval = sampling.Interval(
    low=0.3, high=2.0, times=steps // 2, repeats=2
  )
  sampler = sampling.Restart(
    solver=sampling.Heun(), grid=grid, intervals=(interval,), denoise=False
  )
  noise = sampling.Recorded(z)
  return grid(process)[[0, -1]], sampler(
    DATA.denoiser(process), process, x, noise
  )[0]


def distance(process, ends, out):
  """W2 to the exact law; the sampler is affine in x and its draws."""
  rest, slopes = out[0], out[1:] - out[0]
  mean, variance = map(np.asarray, DATA.marginal(process, ends))
  ours = slopes[0] ** 2 * variance[0] + slopes[1:] @ slopes[1:]
  mean_error = slopes[0] * mean[0] + rest - mean[1]
  return np.hypot(mean_error, ours**0.5 - variance[1] ** 0.5)


def test_restart_has_the_order_of_its_solver(smooth):
  # Rows: nothing, x = 1, and each draw = 1.
  x, z = np.zeros((4, 1)), np.zeros((2, 1, 4, 1))
  x[1], z[0, 0, 2], z[1, 0, 3] = 1, 1, 1
  run = jax.jit(lambda x, z: [end(smooth, n, x, z) for n in COUNTS])
  found = [
    distance(smooth, np.asarray(ends), np.asarray(out)[:, 0])
    for ends, out in run(x, z)
  ]
  slope = -np.polyfit(np.log(COUNTS), np.log(found), 1)[0]
  assert slope == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
  ('values', 'match'),
  [
    ({'low': 2.0, 'high': 1.0, 'times': 3}, 'low < high'),
    ({'low': 1.0, 'high': 2.0, 'times': 1}, 'at least 2 times'),
  ],
)
def test_wrong_intervals_are_refused(values, match):
  with pytest.raises(ValueError, match=match):
    sampling.Interval(**values)
