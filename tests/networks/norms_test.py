from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import norms

X = np.random.default_rng(0).normal(2, 3, (3, 4, 5, 6)).astype(np.float32)
LEVEL = jnp.array([1, 0, 1])


def rows(count):
  draw = np.random.default_rng(1).normal
  return {name: draw(1, 0.5, (count, 6)).astype(np.float32)
          for name in ('gamma', 'alpha', 'beta')}


def by_hand(x, gamma, alpha, beta, ddof=0):
  """One image [H, W, C] by equations (1) to (3)."""
  m, v = x.mean((0, 1)), x.var((0, 1))
  n = (m - m.mean()) / np.sqrt(m.var(ddof=ddof) + 1e-5)
  return gamma * ((x - m) / np.sqrt(v + 1e-5) + alpha * n) + beta


@pytest.mark.parametrize('unbiased', [False, True])
def test_shared_row_by_hand(unbiased):
  params = rows(1)
  y = norms.InstanceNormPlus(unbiased=unbiased).apply(
    {'params': params}, X, LEVEL)
  for x, found in zip(X, y, strict=True):
    expected = by_hand(x, ddof=unbiased, **{k: p[0] for k, p in params.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_every_image_takes_the_row_of_its_level():
  params = rows(2)
  y = norms.InstanceNormPlus(levels=2).apply({'params': params}, X, LEVEL)
  for x, level, found in zip(X, LEVEL, y, strict=True):
    expected = by_hand(x, **{k: p[level] for k, p in params.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_level_beyond_the_table_is_not_a_number():
  y = norms.InstanceNormPlus(levels=2).apply(
    {'params': rows(2)}, X, jnp.array([2, 0, 1]))
  assert jnp.isnan(y[0]).all()
  assert jnp.isfinite(y[1:]).all()


def test_fresh_rows_are_near_one_and_zero():
  fresh = norms.InstanceNormPlus(levels=200).init(
    jax.random.key(0), X, LEVEL)['params']
  for name, mean, std in (
      ('gamma', 1, 0.02), ('alpha', 1, 0.02), ('beta', 0, 0)):
    assert fresh[name].shape == (200, 6)
    np.testing.assert_allclose(fresh[name].mean(), mean, atol=3e-3)
    np.testing.assert_allclose(fresh[name].std(), std, atol=3e-3)
  assert not np.array_equal(fresh['gamma'], fresh['alpha'])


def test_half_precision_is_kept_with_statistics_in_float32():
  x = jnp.asarray(X + 300, jnp.bfloat16)
  params = {'params': rows(1)}
  y = norms.InstanceNormPlus().apply(params, x, LEVEL)
  exact = norms.InstanceNormPlus().apply(
    params, x.astype(jnp.float32), LEVEL)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    y.astype(jnp.float32), exact, rtol=1e-2, atol=1e-2)


def test_float64_is_kept(x64):
  y = norms.InstanceNormPlus().apply(
    {'params': rows(1)}, X.astype(np.float64), LEVEL)
  assert y.dtype == jnp.float64
