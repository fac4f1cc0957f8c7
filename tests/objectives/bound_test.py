"""The discrete bound against closed forms: Gaussian data, exact denoiser."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from difjax import processes
from difjax.denoising import prediction
from difjax.objectives import bound
from difjax.sampling import noise
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Gaussian(mean=0.1, std=0.4)
PROCESS = processes.LinearBetas(levels=12, beta_min=1e-4, beta_max=0.5)
LEVELS = np.arange(256) / 127.5 - 1
SIZE = 8192


def images():
  """Two images of grey levels, drawn from the data."""
  rng = np.random.default_rng(0)
  x = DATA.mean + DATA.std * rng.standard_normal((2, SIZE))
  return np.clip(np.round((x + 1) * 127.5), 0, 255) / 127.5 - 1


def found(variance, spread=None):
  """Returns the bound's terms in nats a number, [B, N + 1]."""

  def denoiser(x, t):
    pair = DATA.denoiser(PROCESS)(x, t)
    return prediction.Prediction(pair.x0, pair.eps, spread)

  terms = jax.jit(
    lambda x, keys: bound.terms(denoiser, PROCESS, x, keys, variance=variance)
  )(jnp.asarray(images()), noise.image_keys(0, np.arange(2)))
  return np.asarray(terms) * np.log(2)


def tables():
  """Returns Ho et al.'s alpha-bar, beta and posterior variance [N]."""
  beta = PROCESS.betas()
  bar = np.cumprod(1 - beta)
  before = np.append(1, bar[:-1])
  return bar, beta, beta * (1 - before) / (1 - bar), before


def errors(i):
  """Returns a, b of x0's estimate - x0 = a + b eps at level i, [B, D] and 1."""
  bar, *_ = tables()
  total = bar[i] * DATA.std**2 + 1 - bar[i]
  a = (DATA.mean - images()) * (1 - bar[i]) / total
  return a, np.sqrt(bar[i] * (1 - bar[i])) * DATA.std**2 / total


@pytest.mark.parametrize('variance', [bound.Small(), bound.Large()])
def test_terms_between_levels(variance):
  bar, beta, small, before = tables()
  terms = found(variance)
  for i in range(1, PROCESS.levels):
    used = beta[i] if variance == bound.Large() else small[i]
    coefficient = np.sqrt(before[i]) * beta[i] / (1 - bar[i])
    scale = coefficient**2 / (2 * used)
    a, b = errors(i)
    exact = scale * (a**2 + b**2).mean(axis=1) + 0.5 * (
      np.log(used / small[i]) + small[i] / used - 1
    )
    each = 4 * (a * b) ** 2 + 2 * b**4
    error = scale * np.sqrt(each.mean(axis=1) / SIZE)
    assert np.all(np.abs(terms[:, i] - exact) < 4 * error + 1e-12), i
    assert np.all(4 * error < 0.1 * exact), i


def test_the_prior_term():
  bar = tables()[0][-1]
  exact = 0.5 * (bar * images() ** 2 - bar - np.log1p(-bar)).mean(axis=1)
  np.testing.assert_allclose(found(bound.Small())[:, -1], exact, rtol=1e-9)


@pytest.mark.parametrize('large', [False, True])
def test_the_decoder_term(large):
  """Its mean over the noise by quadrature; fixed variances share level 1's."""
  _, beta, small, _ = tables()
  learned = bound.Learned()
  std = np.sqrt(beta[0] if large else small[1])
  terms = found(learned, spread=float(large))[:, 0]
  a, b = errors(0)
  nodes, weights = np.polynomial.hermite_e.hermegauss(60)
  mean = images()[..., None] + a[..., None] + b * nodes
  each = -np.asarray(bound.decoder_logp(images()[..., None], mean, std))
  weights = weights / weights.sum()
  exact = each @ weights
  error = np.sqrt((((each - exact[..., None]) ** 2) @ weights).mean() / SIZE)
  assert np.abs(terms - exact.mean(axis=1)).max() < 4 * error + 1e-9
  if not large:
    for fixed in (bound.Small(), bound.Large()):
      np.testing.assert_allclose(found(fixed)[:, 0], terms, rtol=1e-12)


def test_a_learned_variance_lies_between_the_two():
  for spread, fixed in ((0.0, bound.Small()), (1.0, bound.Large())):
    learned = found(bound.Learned(), spread=spread)
    np.testing.assert_allclose(learned[:, 1:], found(fixed)[:, 1:], rtol=1e-9)
  with pytest.raises(ValueError, match='no spread'):
    found(bound.Learned())


@pytest.mark.parametrize('mean', [-1.3, -0.2, 0.5019, 1.0])
@pytest.mark.parametrize('std', [0.01, 0.3])
def test_the_decoder_is_a_distribution(mean, std):
  logp = bound.decoder_logp(jnp.asarray(LEVELS), mean, std)
  np.testing.assert_allclose(np.exp(logp).sum(), 1, rtol=1e-9)
  edges = np.append(LEVELS - 1 / 255, np.inf)
  edges[0] = -np.inf
  exact = np.diff(stats.norm.cdf(edges, mean, std))
  np.testing.assert_allclose(np.exp(logp), exact, rtol=1e-6, atol=1e-12)


def test_the_decoder_is_finite_far_away():
  logp = bound.decoder_logp(
    jnp.asarray(LEVELS, jnp.float32), jnp.float32(0.9), jnp.float32(0.01)
  )
  assert logp.dtype == jnp.float32
  assert np.isfinite(logp).all()
  exact = stats.norm.logcdf(1 / 2.55 + (-1 - 0.9) / 0.01)
  np.testing.assert_allclose(logp[0], exact, rtol=1e-3)


def test_clipping_keeps_estimates_in_the_range():
  far = lambda x, t: prediction.Prediction(jnp.full_like(x, 5.0), x)
  one = lambda x, t: prediction.Prediction(jnp.ones_like(x), x)
  keys = noise.image_keys(0, np.arange(2))
  x = jnp.asarray(images()[:, :9])
  clipped = bound.terms(far, PROCESS, x, keys, clip=True)
  np.testing.assert_array_equal(clipped, bound.terms(one, PROCESS, x, keys))
