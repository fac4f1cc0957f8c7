"""DPM-Solver: its integrals, what it is exact on, and its fast variant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.sampling import dpm_solver
from difjax.sampling.samplers import counted
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()


@pytest.mark.parametrize('k', [-3.0, -0.2, -2e-3, -5e-4, 0.0, 1e-6, 9e-4, 2.0])
def test_psi_is_the_integral(k):
  places, shares = np.polynomial.legendre.leggauss(20)
  u = (1 + places) / 2
  kernel = 0.5 * k * np.exp(k * (1 - u)) * shares
  exact = [np.sum(kernel * u**n) for n in range(3)]
  np.testing.assert_allclose(
    dpm_solver.psi(jnp.asarray(k)), exact, rtol=1e-9, atol=1e-15
  )


def of_logsnr(process, function, data):
  """A denoiser whose x_0, or else eps, is a function of log-SNR alone."""

  def denoise(x, t):
    value = jnp.full_like(x, function(0.5 * process.logsnr(t)))
    alpha, sigma = process.alpha(t), process.sigma(t)
    if data:
      return denoising.Prediction(value, (x - alpha * value) / sigma)
    return denoising.Prediction((x - sigma * value) / alpha, value)

  return denoise


@pytest.mark.parametrize('data', [False, True])
@pytest.mark.parametrize(
  ('solver', 'degree'),
  [
    (sampling.DPMSolver1, 0),
    (sampling.DPMSolver2, 0),
    (sampling.DPMSolver3, 1),  # 2 (r) of the paper has its psi_1, as 3 has
  ],
)
def test_polynomials_in_logsnr_are_exact(smooth, solver, degree, data):
  function = lambda half: (1.3 + 0.4 * half) ** degree
  t, s = smooth.time_of_logsnr(jnp.asarray([-2.0, 1.5]))
  x = jnp.asarray([[2.0, -1.0]])
  denoiser = of_logsnr(smooth, function, data)
  got, _ = solver(data=data).step(denoiser, smooth, (), x, t, s, None)
  # d(x / sigma) = x_0 d(alpha / sigma), d(x / alpha) = eps d(sigma / alpha).
  places, shares = np.polynomial.legendre.leggauss(30)
  start, stop = -1.0, 0.75
  half = start + (stop - start) * (1 + places) / 2
  sign = 1.0 if data else -1.0
  integral = np.sum(
    shares / 2 * (stop - start) * sign * np.exp(sign * half) * function(half)
  )
  scale = smooth.sigma if data else smooth.alpha
  exact = scale(s) * (x / scale(t) + integral)
  np.testing.assert_allclose(got, exact, rtol=1e-9)


@pytest.mark.parametrize('data', [False, True])
def test_order_one_is_ddim(smooth, data):
  denoiser = analytic.Mixture().denoiser(smooth)
  t, s = smooth.time_of_logsnr(jnp.asarray([-2.0, 1.5]))
  x = jnp.asarray([[2.0, -1.0]])
  ends = [
    rule.step(denoiser, smooth, (), x, t, s, None)[0]
    for rule in (sampling.DPMSolver1(data=data), sampling.DDIM())
  ]
  np.testing.assert_allclose(*ends, rtol=1e-9)


@pytest.mark.parametrize(
  'solver', [sampling.DPMSolver2(), sampling.DPMSolver3()]
)
def test_a_step_of_no_length_stays(solver):
  x, t = jnp.asarray([[2.0, -1.0]]), jnp.asarray(0.4)
  denoiser = analytic.Mixture().denoiser(EDM)
  np.testing.assert_allclose(
    solver.step(denoiser, EDM, (), x, t, t, None)[0], x, rtol=1e-12
  )


@pytest.mark.parametrize('total', [2, 3, 4, 7, 8])
@pytest.mark.parametrize('denoise', [False, True])
def test_fast_takes_as_many_evaluations_as_it_may(total, denoise):
  calls = []
  denoiser = counted(analytic.Mixture().denoiser(EDM), lambda: calls.append(1))
  sampler = sampling.DPMFast(evaluations=total, denoise=denoise)
  noise = sampling.Recorded(np.zeros((1, 1, 1, 2)))
  _, evaluations = sampler(denoiser, EDM, jnp.ones((1, 2)), noise)
  jax.effects_barrier()
  assert len(calls) == total
  np.testing.assert_array_equal(evaluations, [total])


def test_fast_needs_evaluations():
  with pytest.raises(ValueError, match='too few evaluations: 1'):
    sampling.DPMFast(evaluations=1)
