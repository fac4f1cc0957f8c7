"""What holds of every process, and the derivation against closed forms."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from difjax import processes
from difjax.processes import base

pytestmark = pytest.mark.usefixtures('x64')


def times(process, n=41):
  """Both ends, and times evenly spaced in t and in its logarithm."""
  even = np.linspace(process.t_min, process.t_max, n)
  return np.union1d(even, np.geomspace(process.t_min, process.t_max, n))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bare(base.Process):
  """The two required functions of another process and nothing else."""

  process: base.Process

  def alpha(self, t):
    return self.process.alpha(t)

  def sigma(self, t):
    return self.process.sigma(t)


def bare(process):
  return Bare(process=process, t_min=process.t_min, t_max=process.t_max)


def test_derived_drift_equals_the_closed_form(smooth):
  t = times(smooth)
  np.testing.assert_allclose(
    smooth.drift(t), bare(smooth).drift(t), rtol=1e-12, atol=1e-300
  )


def test_derived_diffusion_equals_the_closed_form(smooth):
  t = times(smooth)
  np.testing.assert_allclose(
    smooth.diffusion2(t), bare(smooth).diffusion2(t), rtol=1e-12
  )


def test_drift_and_diffusion_carry_the_marginal(process):
  # The moments of dx = f x dt + g dw: m' = f m, v' = 2 f v + g^2.
  t = jnp.asarray(times(process))
  drift, g2 = process.drift(t), process.diffusion2(t)
  mean, mean_dot = jax.jvp(process.alpha, (t,), (jnp.ones_like(t),))
  variance = lambda t: process.sigma(t) ** 2
  v, v_dot = jax.jvp(variance, (t,), (jnp.ones_like(t),))
  np.testing.assert_allclose(mean_dot, drift * mean, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(v_dot, 2 * drift * v + g2, rtol=1e-9, atol=1e-9)


def test_logsnr_is_the_ratio(process):
  t = times(process)
  np.testing.assert_allclose(
    process.logsnr(t), bare(process).logsnr(t), rtol=0, atol=1e-9
  )


def test_logsnr_decreases(process):
  t = np.linspace(process.t_min, process.t_max, 3001)
  assert np.all(np.diff(process.logsnr(t)) < 0)


def test_data_end_is_clean_and_noise_end_is_noise(process):
  assert process.sigma(process.t_min) < 0.05 * process.alpha(process.t_min)
  assert process.alpha(process.t_max) < 0.05 * process.sigma(process.t_max)


def test_time_of_logsnr_inverts(process):
  t = times(process)
  np.testing.assert_allclose(
    process.time_of_logsnr(process.logsnr(t)), t, rtol=1e-10
  )


def test_bisection_inverts(process):
  t = times(process)
  found = bare(process).time_of_logsnr(process.logsnr(t))
  np.testing.assert_allclose(found, t, rtol=1e-9)


def test_bisection_has_the_gradient_of_the_inverse(smooth):
  logsnr = smooth.logsnr(times(smooth)[1:-1])
  derived = jax.vmap(jax.grad(bare(smooth).time_of_logsnr))(logsnr)
  closed = jax.vmap(jax.grad(smooth.time_of_logsnr))(logsnr)
  np.testing.assert_allclose(derived, closed, rtol=1e-7)


def test_transitions_compose(process):
  r, s, t = process.t_min, *np.linspace(process.t_min, process.t_max, 4)[1:3]
  a_s, b2_s = process.transition(s, r)
  a_t, b2_t = process.transition(t, s)
  a, b2 = process.transition(t, r)
  np.testing.assert_allclose(a_t * a_s, a, rtol=1e-12)
  np.testing.assert_allclose(a_t**2 * b2_s + b2_t, b2, rtol=1e-10)


def test_transition_carries_the_marginal(process):
  t = times(process)
  s, t = t[:-1], t[1:]
  a, b2 = process.transition(t, s)
  variance = (a * process.sigma(s)) ** 2 + b2
  np.testing.assert_allclose(a * process.alpha(s), process.alpha(t), rtol=1e-12)
  np.testing.assert_allclose(variance, process.sigma(t) ** 2, rtol=1e-9)
  assert np.all(np.asarray(b2) > 0)


def test_posterior_is_bayes(process):
  t = times(process)
  s, t = t[:-1:3], t[1::3]
  x, x0 = np.random.default_rng(0).normal(size=(2, len(t), 2, 3))
  column = lambda v: np.asarray(v)[:, None, None]
  a, b2 = process.transition(t, s)
  # Precisions add: that of x_s given x_0 and that of x_s given x_t.
  prior, likelihood = 1 / process.sigma(s) ** 2, a**2 / b2
  variance = 1 / (prior + likelihood)
  mean = column(variance) * (
    column(prior * process.alpha(s)) * x0 + column(likelihood / a) * x
  )
  got_mean, got_variance = process.posterior(x, x0, t, s)
  np.testing.assert_allclose(got_mean, mean, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(got_variance, variance, rtol=1e-9)


def test_perturb_scales_each_example(process):
  t = jnp.asarray([process.t_min, process.t_max])
  x0, eps = np.random.default_rng(0).normal(size=(2, 2, 3, 3, 1))
  got = process.perturb(x0, eps, t)
  for i in range(2):
    np.testing.assert_allclose(
      got[i], process.alpha(t[i]) * x0[i] + process.sigma(t[i]) * eps[i],
      rtol=1e-13,
    )  # fmt: skip


def test_prior_is_the_marginal_of_unit_data(process):
  alpha, sigma = process.alpha(process.t_max), process.sigma(process.t_max)
  assert process.prior_std() == pytest.approx(np.hypot(alpha, sigma), rel=2e-3)


def test_prior_logp(process):
  x = 3 * np.random.default_rng(0).normal(size=(4, 2, 3, 1))
  exact = scipy.stats.norm(0, process.prior_std()).logpdf(x).sum((1, 2, 3))
  np.testing.assert_allclose(process.prior_logp(x), exact, rtol=1e-12)


def test_prior_draws(process):
  x = process.prior(jax.random.key(0), (200, 200))
  z = np.asarray(x, np.float64) / process.prior_std()
  # Five standard errors of the mean, the variance and the kurtosis.
  assert x.shape == (200, 200)
  assert abs(z.mean()) < 5 / 200
  assert abs(z.var() - 1) < 5 * np.sqrt(2) / 200
  assert abs((z**4).mean() - 3) < 5 * np.sqrt(96) / 200


@pytest.mark.parametrize('t', [0.5, np.float64(0.5), np.float32(0.5), 1])
def test_numbers_are_times(process, t):
  for function in (process.alpha, process.sigma):
    got = function(t)
    assert got.shape == ()
    assert got.dtype in (jnp.float32, jnp.float64)
    np.testing.assert_allclose(got, function(np.float64(t)), 1e-6, 1e-6)


@pytest.mark.parametrize(
  'function', ['alpha', 'sigma', 'drift', 'diffusion2', 'logsnr']
)
def test_float32(process, function):
  # Rounding the angle or the time costs eps / alpha where alpha vanishes;
  # sixteen roundings of that size are allowed. For lambda the error is absolute.
  t = times(process).astype(np.float32)
  exact = getattr(process, function)(t.astype(np.float64))
  got = getattr(process, function)(t)
  allowed = 16 * np.finfo(np.float32).eps * (1 + 1 / process.alpha(t))
  scale = 1 if function == 'logsnr' else np.abs(exact)
  assert got.dtype == jnp.float32
  assert np.all(np.abs(got - exact) <= allowed * scale)


def test_half_precision_times_are_widened(process):
  t = jnp.asarray([0.5, 0.75], jnp.bfloat16)
  assert process.sigma(t).dtype == jnp.float32


@pytest.mark.parametrize(
  'ends', [(0.5, 0.5), (0.7, 0.2), (0.0, 1.0), (-0.1, 1.0), (np.nan, 1.0)]
)
def test_times_out_of_order_are_refused(ends):
  with pytest.raises(ValueError, match='0 < t_min < t_max'):
    processes.VP(t_min=ends[0], t_max=ends[1])


def test_processes_are_values(process):
  assert process == dataclasses.replace(process)
  assert hash(process) == hash(dataclasses.replace(process))
