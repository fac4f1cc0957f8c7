"""Layers that keep magnitudes, by the variance of what they put out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import edm2_layers as layers
from difjax.networks import resample

KEY = jax.random.key(0)


def normal(seed, shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def applied(layer, *args):
  """What a layer gives of arrays; weights of any length, gains at zero.

  In one program: an initialiser compiles one for every shape.
  """
  shapes = jax.eval_shape(lambda: layer.init(KEY, *args))
  seeds = iter(range(100))
  params = jax.tree.map(
    lambda a: normal(next(seeds), a.shape) if a.ndim else np.float32(0),
    shapes)
  return jax.jit(lambda params: layer.apply(params, *args))(params)


def rms(x, axis=None):
  return np.sqrt(np.mean(np.square(np.asarray(x, np.float64)), axis))


def test_unit_by_hand():
  """Root mean square 5 / sqrt 2, to which 1e-4 is added."""
  found = layers.unit(jnp.array([[3.0, -4.0], [0.0, 0.0]]))
  norm = 12.5**0.5 + 1e-4
  np.testing.assert_allclose(
    found, [[3 / norm, -4 / norm], [0, 0]], rtol=1e-6)


def test_statistics_are_in_float32():
  big = jnp.full((1, 4), 300.0, jnp.float16)  # whose square is no half
  found = layers.unit(big)
  assert found.dtype == jnp.float16
  np.testing.assert_allclose(found, 1, atol=1e-3)


@pytest.mark.parametrize('layer', [
  layers.mp_silu,
  lambda x: layers.mp_sum(x, normal(1, x.shape), 0.3),
  lambda x: layers.mp_join(x, normal(1, (*x.shape[:-1], 5)), 0.3),
  lambda x: applied(layers.MPConv(64), x),
  lambda x: applied(layers.MPConv(64, 3), x)[:, 1:-1, 1:-1],
], ids=['silu', 'sum', 'join', 'linear', 'convolution'])
def test_magnitudes_stay(layer):
  out = layer(normal(0, (64, 8, 8, 24)))
  assert rms(out) == pytest.approx(1, abs=0.02)


def test_the_code_of_a_number_has_unit_variance():
  """Over numbers: half of 2 cos^2; at 0 the code is that of the phases."""
  noise = jnp.concatenate([jnp.zeros(1), normal(0, (4000,)) * 50])
  net = layers.MPFourier(64)
  out, variables = net.init_with_output(KEY, noise)
  assert rms(out[1:]) == pytest.approx(1, abs=0.02)
  phases = variables['params']['phases']
  np.testing.assert_allclose(out[0], 2**0.5 * np.cos(phases), atol=1e-6)
  assert phases.min() >= 0 and phases.max() <= 2 * np.pi
  grads = jax.grad(lambda v: net.apply(v, noise).sum())(variables)
  assert all(not g.any() for g in jax.tree.leaves(grads))


def test_shares_of_a_join():
  """Each side has its share of the energy, however many channels it has."""
  a, b = normal(0, (500, 40)), normal(1, (500, 10))
  out = layers.mp_join(a, b, 0.3)
  energy = (out**2).sum(-1).mean() / 50
  assert energy == pytest.approx(1, abs=0.03)
  of_b = (out[:, 40:] ** 2).sum(-1).mean() / 50
  assert of_b == pytest.approx(0.3**2 / (0.7**2 + 0.3**2), rel=0.05)


@pytest.mark.parametrize('side', [1, 3])
def test_the_length_of_weights_does_not_matter(side):
  x = normal(0, (2, 4, 4, 6))
  net = layers.MPConv(5, side)
  variables = net.init(KEY, x)
  kernel = variables['params']['kernel']
  axes = tuple(range(kernel.ndim - 1))
  np.testing.assert_allclose(rms(kernel, axes), 1, rtol=1e-3)
  longer = {'params': {'kernel': kernel * jnp.array([1, 3, 0.5, 10, 2.0])}}
  np.testing.assert_allclose(
    net.apply(longer, x), net.apply(variables, x), atol=1e-3)
  # Under a gain they are as long as that, whatever they were.
  np.testing.assert_allclose(
    net.apply(variables, x, 0.25), 0.25 * net.apply(variables, x), atol=1e-6)


def test_a_gradient_does_not_change_lengths():
  """It is orthogonal to the weights of every output, but for the epsilon."""
  x = normal(0, (8, 6))
  net = layers.MPConv(5)
  kernel = net.init(KEY, x)['params']['kernel']
  grad = jax.grad(lambda k: jnp.square(
    net.apply({'params': {'kernel': k}}, x) - 1).sum())(kernel)
  along = jnp.abs((grad * kernel).sum(0))
  assert (along < 5e-3 * jnp.linalg.norm(grad, axis=0)).all()


@pytest.mark.parametrize('fields', [
  dict(), dict(decoder=True), dict(attend=True, channels_per_head=4),
  dict(resampling=resample.average_down), dict(clip=None),
], ids=['down', 'up', 'attention', 'resampling', 'unclipped'])
def test_blocks_keep_magnitudes(fields):
  x, emb = normal(0, (16, 4, 4, 12)), normal(1, (16, 20))
  out = applied(layers.MPBlock(8, **fields), x, emb, False)
  side = 2 if 'resampling' in fields else 4
  assert out.shape == (16, side, side, 8)
  assert rms(out) == pytest.approx(1, abs=0.15)


def test_a_block_is_blind_to_the_embedding_until_its_gain_moves():
  x, emb = normal(0, (2, 4, 4, 8)), normal(1, (2, 20))
  block = layers.MPBlock(8)
  variables = block.init(KEY, x, emb, False)
  apply = lambda params, emb: block.apply({'params': params}, x, emb, False)
  params = variables['params']
  np.testing.assert_array_equal(apply(params, emb), apply(params, -emb))
  moved = {**params, 'gain': jnp.float32(0.5)}
  assert abs(apply(moved, emb) - apply(moved, -emb)).max() > 0.1


def test_clipping():
  x, emb = 1e4 * np.ones((1, 2, 2, 4), 'f4'), np.ones((1, 4), 'f4')
  out = applied(layers.MPBlock(4, decoder=True, clip=7.0), x, emb, False)
  assert abs(out).max() == 7.0


@pytest.mark.parametrize(('channels', 'width', 'heads'), [
  (8, 64, 0), (8, 8, 1), (12, 8, 1), (12, 4, 3), (12, 5, 2)])
def test_as_many_heads_as_fit(channels, width, heads):
  """Where none does, there is no attention; else they share all channels."""
  block = layers.MPBlock(channels, attend=True, channels_per_head=width)
  x, emb = normal(0, (1, 2, 2, channels)), normal(1, (1, 4))
  shapes = jax.eval_shape(lambda: block.init(KEY, x, emb, False))['params']
  assert ('qkv' in shapes) == bool(heads)
  traced = str(jax.make_jaxpr(
    lambda params: block.apply({'params': params}, x, emb, False))(shapes))
  assert (f'1,4,{heads},{channels // max(heads, 1)}]' in traced) == bool(heads)


def test_heads_that_do_not_divide():
  block = layers.MPBlock(10, attend=True, channels_per_head=3)
  with pytest.raises(ValueError, match='3 heads do not divide 10'):
    jax.eval_shape(lambda: block.init(
      KEY, jnp.zeros((1, 2, 2, 10)), jnp.zeros((1, 4)), False))
