from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from difjax.networks import wideresnet

SMALL = dict(
  num_classes=3, channels=4, widening=2, multipliers=(1, 2), frequencies=4,
  blocks_per_group=1)
X = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))
NOISE = jnp.array([0.1, 3.0])

# Compiling is what these tests cost; the arithmetic is the same.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def shapes(net, shape):
  return jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros(shape), jnp.ones(shape[0])
  )['params']


@functools.cache
def plain():
  """Parameters of which none is zero, the network, and its logits."""
  net = wideresnet.WideResNet(**SMALL)
  draw = np.random.default_rng(0).normal
  params = {'params': jax.tree.map(
    lambda a: draw(0.1, 0.4, a.shape).astype(a.dtype), shapes(net, X.shape))}
  apply = jit(net.apply)
  return params, apply, apply(params, X, NOISE)


def test_parameter_count_of_score_sde():
  found = shapes(wideresnet.WideResNet(), (1, 32, 32, 3))
  assert sum(a.size for a in jax.tree.leaves(found)) == 38_913_242


def test_brightness_and_contrast_of_an_image_do_not_matter():
  params, apply, out = plain()
  assert out.shape == (2, 3)
  found = apply(params, jnp.array([2.0, 0.3])[:, None, None, None] * X + 5,
                NOISE)
  np.testing.assert_allclose(found, out, rtol=1e-3, atol=1e-3)


def test_a_blank_image_gives_numbers():
  params, apply, _ = plain()
  assert jnp.isfinite(apply(params, jnp.ones_like(X), NOISE)).all()


def test_channels_are_normalised_as_the_fields_say():
  params, _, out = plain()
  mean, std = (0.4, 0.5, 0.6), (0.5, 1.0, 2.0)
  net = wideresnet.WideResNet(**SMALL, mean=mean, std=std)
  found = jit(net.apply)(params, X * jnp.array(std) + jnp.array(mean), NOISE)
  np.testing.assert_allclose(found, out, rtol=1e-4, atol=1e-4)


def test_noise_is_of_each_image():
  params, apply, out = plain()
  other = apply(params, X, NOISE.at[1].set(2.0))
  assert abs(other - out)[1].max() > 1e-3
  np.testing.assert_allclose(other[0], out[0], rtol=1e-5, atol=1e-5)


def test_shortcut_of_a_halving_block_by_hand():
  """With convolutions of zeros only the shortcut is left."""
  block = wideresnet.Block(channels=6, stride=2)
  x = jax.random.normal(jax.random.key(1), (1, 4, 4, 4))
  fresh = block.init(jax.random.key(0), x, jnp.ones((1, 2)))
  y = block.apply(jax.tree.map(jnp.zeros_like, fresh), x, jnp.ones((1, 2)))
  means = x.reshape(1, 2, 2, 2, 2, 4).mean((2, 4))
  np.testing.assert_allclose(y[..., :4], means, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(y[..., 4:], 0)


def test_first_shortcut_starts_after_the_activation():
  block = wideresnet.Block(channels=4, activate_first=True)
  x = jax.random.normal(jax.random.key(2), (1, 4, 4, 4))
  params = jax.tree.map(
    jnp.zeros_like, block.init(jax.random.key(0), x, jnp.ones((1, 2))))
  params['params']['norm_0']['norm']['scale'] = jnp.ones(4)
  y = block.apply(params, x, jnp.ones((1, 2)))
  normed = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
  np.testing.assert_allclose(y, np.maximum(normed, 0), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close():
  params, _, out = plain()
  net = wideresnet.WideResNet(**SMALL, dtype=jnp.bfloat16)
  half = jit(net.apply)(params, X, NOISE)
  assert half.dtype == jnp.float32
  assert 0 < abs(out - half).max() < 0.2 * abs(out).max()


def test_gradients_reach_all_but_the_frequencies():
  params, _, _ = plain()
  net = wideresnet.WideResNet(**SMALL)
  grads = jit(jax.grad(
    lambda p: jnp.square(net.apply(p, X, NOISE, train=True)).sum()))(params)
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.isfinite(g).all(), path
    silent = 'encoding' in jax.tree_util.keystr(path)
    assert (abs(g) > 0).any() != silent, path


def test_float64_is_kept(x64):
  net = wideresnet.WideResNet(**SMALL)
  y = jax.eval_shape(net.apply, plain()[0], X.astype('float64'), NOISE)
  assert y.dtype == jnp.float64
