"""Solvers of the reverse SDE, by hand and against the official code."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')


def with_score(score):
  """A denoiser of a known score; x_0 is of no account here."""
  return lambda process: lambda x, t: denoising.Prediction(
    x, -process.sigma(t) * score(x)
  )


def test_euler_maruyama_by_hand():
  # VP at t = 1/2: beta = 10.05, f = -5.025; h = 1/4, score = -2 x.
  process, x = processes.VP(), np.asarray([[1.0, -2.0]])
  z = np.asarray([[0.5, 1.0]])
  got, _ = sampling.EulerMaruyama().step(
    with_score(lambda x: -2 * x)(process), process, (), jnp.asarray(x),
    jnp.asarray(0.5), jnp.asarray(0.25), sampling.Recorded(z[None, None]),
  )  # fmt: skip
  exact = x - 0.25 * (-5.025 * x + 10.05 * 2 * x) + np.sqrt(10.05 / 4) * z
  np.testing.assert_allclose(got, exact, rtol=1e-12)


@pytest.mark.parametrize(
  ('name', 'process'),
  [
    ('vp', processes.LinearBetas()),
    ('ve', processes.Ladder(sigma_min=0.01, sigma_max=50)),
  ],
)
def test_official_reverse_diffusion(golden, name, process):
  # score_sde's ReverseDiffusionPredictor: x - rev_f + G z, score -x / (1 + t).
  recorded = golden('scoresde_sdes')
  x, time = (recorded[key].astype(np.float64) for key in ('x', 't'))
  step, std = (
    recorded[f'{name}_N1000_rev0_disc_{key}__f64'] for key in ('f', 'G')
  )
  for k, i in enumerate(np.floor(time * 999)):
    if i == 0:  # the step below the first level: not in the table
      continue
    noise = sampling.Recorded(np.ones((1, 1, *x[k][None].shape)))
    t, s = process.time(np.asarray([i, i - 1]))
    got, _ = sampling.ReverseDiffusion().step(
      with_score(lambda x, k=k: -x / (1 + time[k]))(process),
      process, (), jnp.asarray(x[k][None]), t, s, noise,
    )  # fmt: skip
    np.testing.assert_allclose(got[0], x[k] - step[k] + std[k], rtol=1e-8)


def test_reverse_diffusion_of_ve_is_euler_in_the_variance():
  # Song et al. 2021, equation 46 with f = 0, G^2 = sigma_t^2 - sigma_s^2.
  x, z = np.asarray([[1.0, -2.0]]), np.asarray([[0.5, 1.0]])
  process = processes.EDM()
  got, _ = sampling.ReverseDiffusion().step(
    with_score(lambda x: -0.3 * x)(process), process, (), jnp.asarray(x),
    jnp.asarray(5.0), jnp.asarray(4.0), sampling.Recorded(z[None, None]),
  )  # fmt: skip
  np.testing.assert_allclose(got, x - 9 * 0.3 * x + 3 * z, rtol=1e-12)


@pytest.mark.parametrize(
  'process', [processes.VP(), processes.SubVP(), processes.VE()]
)
def test_probability_flow_is_a_rule_of_order_one_for_the_ode(process):
  data, t = analytic.Gaussian(mean=0.3, std=0.5), jnp.asarray(0.5)
  denoiser, x = data.denoiser(process), jnp.asarray([[1.0, -2.0]])
  noise = sampling.Recorded(np.full((1, 1, 1, 2), np.nan))  # not drawn

  def end(rule, h):
    return rule.step(denoiser, process, (), x, t, t - h, noise)[0]

  euler = sampling.EulerMaruyama(probability_flow=True)
  velocity = denoising.velocity(denoiser(x, t), process, t)
  np.testing.assert_allclose(end(euler, 0.1), x - 0.1 * velocity, rtol=1e-10)
  # What an order-1 rule leaves out is quadratic in h.
  reverse = sampling.ReverseDiffusion(probability_flow=True)
  error = [end(reverse, h) - (x - h * velocity) for h in (2e-3, 1e-3)]
  np.testing.assert_allclose(error[0] / error[1], 4.0, rtol=0.02)
