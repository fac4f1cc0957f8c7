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


def times(process, n=20):
  """Both ends, and times even in t and in its logarithm: always 2 n."""
  ends = process.t_min, process.t_max
  even = np.linspace(*ends, n + 2)[1:-1]
  return np.sort(np.concatenate([even, np.geomspace(*ends, n)]))


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
  logsnr = smooth.logsnr(times(smooth))
  derived = jax.vmap(jax.grad(bare(smooth).time_of_logsnr))(logsnr)
  closed = jax.vmap(jax.grad(smooth.time_of_logsnr))(logsnr)
  np.testing.assert_allclose(derived, closed, rtol=1e-7)


def test_transitions_compose(process):
  t = times(process)
  r, s, t = np.full_like(t, process.t_min), (t + process.t_min) / 2, t
  a_s, b2_s = map(np.asarray, process.transition(s, r))
  a_t, b2_t = map(np.asarray, process.transition(t, s))
  a, b2 = process.transition(t, r)
  np.testing.assert_allclose(a_t * a_s, a, rtol=1e-12)
  np.testing.assert_allclose(a_t**2 * b2_s + b2_t, b2, rtol=1e-9)


def marginal(process, t):
  return np.asarray(process.alpha(t)), np.asarray(process.sigma(t)) ** 2


def neighbours(process):
  t = times(process)
  return t, np.append(process.t_min / 2, t[:-1])


def test_transition_carries_the_marginal(process):
  t, s = neighbours(process)
  a, b2 = map(np.asarray, process.transition(t, s))
  (alpha_s, variance_s), (alpha_t, variance_t) = (
    marginal(process, s), marginal(process, t)
  )  # fmt: skip
  np.testing.assert_allclose(a * alpha_s, alpha_t, rtol=1e-12)
  np.testing.assert_allclose(a**2 * variance_s + b2, variance_t, rtol=1e-9)
  assert np.all(b2 > 0)


def test_renoising_is_the_transition(process):
  t, s = neighbours(process)
  x, z = np.random.default_rng(0).normal(size=(2, len(t), 2, 3))
  a, b2 = (np.asarray(v)[:, None, None] for v in process.transition(t, s))
  np.testing.assert_allclose(
    process.renoise(x, s, t, z), a * x + np.sqrt(b2) * z, rtol=1e-12)
  np.testing.assert_array_equal(process.renoise(x, t, t, z), x)


def test_posterior_is_bayes(process):
  t, s = neighbours(process)
  x, x0 = np.random.default_rng(0).normal(size=(2, len(t), 2, 3))
  column = lambda v: np.asarray(v)[:, None, None]
  a, b2 = map(np.asarray, process.transition(t, s))
  alpha, variance_s = marginal(process, s)
  # Precisions add: that of x_s given x_0 and that of x_s given x_t.
  prior, likelihood = 1 / variance_s, a**2 / b2
  variance = 1 / (prior + likelihood)
  mean = column(variance) * (
    column(prior * alpha) * x0 + column(likelihood / a) * x
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


def test_numbers_are_times(process):
  got = process.sigma(0.5)
  assert got.shape == ()
  np.testing.assert_allclose(got, process.sigma(np.full(40, 0.5))[0], 1e-12)


@pytest.mark.parametrize(
  ('t', 'dtype'),
  [
    (2, jnp.float32),
    (np.arange(3), jnp.float32),
    (jnp.ones(2, jnp.bfloat16), jnp.float32),
    (np.ones(2, np.float32), jnp.float32),
    (np.ones(2), jnp.float64),
  ],
)
def test_times_are_at_least_float32(t, dtype):
  sigma = processes.EDM().sigma(t)
  assert sigma.dtype == dtype
  np.testing.assert_array_equal(sigma, np.asarray(t, np.float64))


def test_float32(process):
  # Rounding the angle or the time costs eps / alpha where alpha vanishes;
  # sixteen roundings of that size are allowed. lambda's error is absolute.
  check_float32(process, process.alpha, np.abs)
  check_float32(process, process.sigma, np.abs)
  check_float32(process, process.logsnr, np.ones_like)


def test_float32_of_slopes(smooth):
  check_float32(smooth, smooth.drift, np.abs)
  check_float32(smooth, smooth.diffusion2, np.abs)


def check_float32(process, function, scale):
  t = times(process).astype(np.float32)
  allowed = 16 * np.finfo(np.float32).eps * (1 + 1 / process.alpha(t))
  exact = np.asarray(function(t.astype(np.float64)))
  got = function(t)
  assert got.dtype == jnp.float32
  assert np.all(np.abs(got - exact) <= allowed * scale(exact))


@pytest.mark.parametrize(
  'ends', [(0.5, 0.5), (0.7, 0.2), (0.0, 1.0), (-0.1, 1.0), (np.nan, 1.0)]
)
def test_times_out_of_order_are_refused(ends):
  with pytest.raises(ValueError, match='0 < t_min < t_max'):
    processes.VP(t_min=ends[0], t_max=ends[1])


def test_processes_are_values(process):
  assert process == dataclasses.replace(process)
  assert hash(process) == hash(dataclasses.replace(process))
