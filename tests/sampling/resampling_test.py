"""Resampling: a step, and back, and the step again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from difjax.sampling import samplers
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()
POINT = analytic.Gaussian(mean=0.0, std=0.0)
DDIM = sampling.DDIM(eta=1.0)


def keys(n):
  return sampling.Keys(sampling.image_keys(0, np.arange(n)))


def test_by_hand():
  """On EDM with data at 0 a step from 4 to 2 is x / 4 + sqrt(3) z."""

  class Noise:
    def normal(self, slot, like):
      return jnp.full_like(like, draws[int(slot)])

  share = 2**16
  draws = {0: 0.5, 1: 3.0, share + 1: -2.0}
  solver = sampling.Resampled(solver=DDIM, visits=2)
  with jax.disable_jit():
    x, _ = solver.step(
      POINT.denoiser(EDM), EDM, (), jnp.asarray([[16.0]]), 4.0, 2.0, Noise()
    )
  first = 16 / 4 + np.sqrt(3) * 3
  back = first + np.sqrt(16 - 4) * 0.5
  np.testing.assert_allclose(x, [[back / 4 - np.sqrt(3) * 2]], rtol=1e-12)


def test_one_visit_has_the_solvers_law(smooth):
  """The posterior's draws of a Gaussian: mean and variance as of one step."""
  data, n = analytic.Gaussian(), 4000
  t, s = smooth.time_of_logsnr(np.asarray([-2.0, 1.0]))
  x = jnp.full((n, 1), 0.7)
  step = lambda solver: solver.step(
    data.denoiser(smooth), smooth, (), x, t, s, keys(n)
  )[0]
  plain, again = step(DDIM), step(sampling.Resampled(solver=DDIM, visits=1))
  std = plain.std()
  assert abs(plain.mean() - again.mean()) < 5 * std * (2 / n) ** 0.5
  assert abs(again.std() / std - 1) < 5 / n**0.5


def test_visits_leave_the_marginal_as_it_is():
  """From the exact law at t, any number of visits ends in that at s."""
  data, n, process = analytic.Gaussian(), 20_000, processes.VP()
  t, s = process.time_of_logsnr(np.asarray([-0.5, 0.0]))
  mean, variance = data.marginal(process, t)
  z = jax.random.normal(jax.random.key(1), (n, 1))
  x, _ = sampling.Resampled(solver=sampling.Heun(), visits=6).step(
    data.denoiser(process), process, (), mean + jnp.sqrt(variance) * z, t, s,
    keys(n),
  )  # fmt: skip
  mean, variance = data.marginal(process, s)
  std = float(jnp.sqrt(variance))
  assert abs(float(x.mean() - mean)) < 5 * std / n**0.5
  assert abs(float(x.std()) / std - 1) < 5 / (2 * n) ** 0.5 + 0.005


def test_evaluations_are_counted_truly():
  calls = []
  denoiser = samplers.counted(POINT.denoiser(EDM), lambda: calls.append(1))
  sampler = sampling.FixedGrid(
    solver=sampling.Resampled(solver=sampling.Heun(), visits=3),
    grid=sampling.Karras(steps=4),
  )
  _, evaluations = sampler(denoiser, EDM, jnp.ones((1, 2)), keys(1))
  jax.effects_barrier()
  assert int(evaluations[0]) == len(calls) == 3 * 3 * 2 + 1


def test_no_visit_is_refused():
  with pytest.raises(ValueError, match='visits must be at least 1'):
    sampling.Resampled(solver=DDIM, visits=0)
