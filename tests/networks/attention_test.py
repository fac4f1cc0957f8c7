from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import attention


def reference(params, x, heads):
  """Equation (1), a head and a sample at a time, in float64."""
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  x = np.asarray(x, np.float64)
  channels = x.shape[-1]
  d = channels // heads
  qkv = x @ p['qkv']['kernel'] + p['qkv']['bias']
  q, k, v = np.split(qkv, 3, axis=-1)
  out = np.zeros_like(x)
  for b in range(x.shape[0]):
    for i in range(heads):
      own = slice(i * d, (i + 1) * d)
      weights = np.exp(q[b][:, own] @ k[b][:, own].T / np.sqrt(d))
      weights /= weights.sum(-1, keepdims=True)
      out[b][:, own] = weights @ v[b][:, own]
  return out @ p['out']['kernel'] + p['out']['bias']


@pytest.fixture(scope='module')
def case():
  draw = np.random.default_rng(0).normal
  x = draw(size=(2, 5, 12)).astype(np.float32)
  shapes = jax.eval_shape(
    attention.SelfAttention().init, jax.random.key(1), x)['params']
  return x, jax.tree.map(
    lambda a: draw(0, 0.4, a.shape).astype(np.float32), shapes)


@pytest.mark.parametrize('heads', [1, 3])
def test_attention_against_plain_softmax(case, heads):
  x, params = case
  module = attention.SelfAttention(heads)
  y = jax.jit(module.apply)({'params': params}, x)
  np.testing.assert_allclose(y, reference(params, x, heads), atol=3e-6)


def test_attention_under_bfloat16_is_close(case):
  x, params = case
  module = attention.SelfAttention(3, dtype=jnp.bfloat16)
  y = jax.jit(module.apply)({'params': params}, x)
  assert y.dtype == jnp.bfloat16
  expected = reference(params, x, 3)
  error = np.abs(np.asarray(y, np.float64) - expected).max()
  assert error < 0.03 * np.abs(expected).max()


def test_attention_names_heads_that_do_not_divide():
  with pytest.raises(ValueError, match=r'5 heads.*12 channels'):
    attention.SelfAttention(5).init(jax.random.key(0), jnp.zeros((1, 2, 12)))
