"""Classifiers from the way down of a U-Net."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import (
  embeddings,
  layers,
  resample,
  unet_blocks,
  unet_encoder,
)

SMALL = dict(
  channels=8, multipliers=(1, 2), blocks_per_level=1, num_classes=5,
  attention_resolutions=(2,), skip_rescale=False)
X = jax.random.normal(jax.random.key(0), (3, 4, 4, 2))
NOISE = jnp.array([0.0, 1.5, 400.0])
POOLS = {
  'average': unet_encoder.AveragePool,
  'attention': functools.partial(unet_encoder.AttentionPool, head_channels=4),
  'spatial': functools.partial(unet_encoder.SpatialPool, width=8),
  'spatial, normed': functools.partial(
    unet_encoder.SpatialPool, width=8, normed=True),
}


def shapes(net, x):
  return jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros(x), jnp.zeros(x[0]))['params']


def dense(net):
  draw = np.random.default_rng(0).normal
  return {'params': jax.tree.map(
    lambda a: draw(0.1, 0.3, a.shape).astype(a.dtype), shapes(net, X.shape))}


@pytest.mark.parametrize('pool', POOLS)
def test_logits_see_image_and_noise(pool):
  net = unet_encoder.UNetEncoder(**SMALL, pool=POOLS[pool])
  params = dense(net)
  apply = jax.jit(net.apply)
  logits = apply(params, X, NOISE)
  assert logits.shape == (3, 5)
  assert logits.dtype == jnp.float32
  assert np.all(np.ptp(np.asarray(logits), axis=0) > 1e-4)
  moved = apply(params, X, NOISE + 50)
  assert np.all(abs(np.asarray(moved - logits)).max(1) > 1e-4)
  alone = apply(params, X[1:2], NOISE[1:2])
  np.testing.assert_allclose(alone[0], logits[1], rtol=1e-4, atol=1e-5)


def test_average_pool_is_linear_in_the_mean():
  pool = unet_encoder.AveragePool(
    num_classes=3, norm=lambda **_: lambda h: h, activation=lambda h: h)
  h = jax.random.normal(jax.random.key(1), (2, 3, 3, 4))
  out, params = pool.init_with_output(jax.random.key(0), [X, h])
  layer = params['params']['out']
  np.testing.assert_allclose(
    out, h.mean((1, 2)) @ layer['kernel'] + layer['bias'], rtol=1e-5, atol=1e-6)


def test_attention_pool_reads_positions_behind_the_mean():
  pool = unet_encoder.AttentionPool(
    num_classes=3, norm=lambda **_: lambda h: h, activation=lambda h: h,
    head_channels=2)
  h = jax.random.normal(jax.random.key(1), (2, 2, 3, 4))
  params = jax.eval_shape(pool.init, jax.random.key(0), [h])['params']
  draw = np.random.default_rng(0).normal
  params = jax.tree.map(lambda a: jnp.asarray(draw(size=a.shape)), params)
  out = pool.apply({'params': params}, [h])
  tokens = np.asarray(h, np.float64).reshape(2, 6, 4)
  tokens = np.concatenate([tokens.mean(1, keepdims=True), tokens], 1)
  tokens = tokens + np.asarray(params['positions'], np.float64)
  inside = params['attention']
  qkv = tokens @ np.asarray(inside['qkv']['kernel']) + inside['qkv']['bias']
  q, k, v = qkv.reshape(2, 7, 3, 2, 2).transpose(2, 0, 3, 1, 4)
  scores = np.exp(q[:, :, :1] @ k.swapaxes(-1, -2) / 2**0.5)
  first = (scores / scores.sum(-1, keepdims=True) @ v)[:, :, 0].reshape(2, 4)
  expected = first @ np.asarray(inside['out']['kernel']) + inside['out']['bias']
  np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
  with pytest.raises(ValueError, match='width 3 do not divide 4'):
    pool.clone(head_channels=3).apply({'params': params}, [h])


def test_sizes_that_cannot_be_halved_are_refused():
  net = unet_encoder.UNetEncoder(**SMALL)
  with pytest.raises(ValueError, match='UNetEncoder: an input of shape'):
    shapes(net, (1, 5, 4, 2))


BLOCK = functools.partial(
  unet_blocks.ResidualBlock, scale_shift=True, bare_shortcut=True)
CLASSIFIER = dict(
  channels=128, blocks_per_level=2, attention_resolutions=(32, 16, 8),
  skip_rescale=False, block=BLOCK,
  norm=functools.partial(layers.GroupNorm, min_channels=1, epsilon=1e-5),
  encoding=functools.partial(
    embeddings.Positional, cos_first=True, endpoint=False),
  down=functools.partial(BLOCK, resampling=resample.average_down),
  attention=functools.partial(unet_blocks.AttentionBlock, head_channels=64))


@pytest.mark.parametrize(('fields', 'size', 'count'), [
  (dict(multipliers=(1, 2, 3, 4), blocks_per_level=4), 64, 65_438_568),
  (dict(multipliers=(0.5, 1, 1, 2, 2, 4, 4), stem_channels=64), 512,
   54_448_360),
], ids=['64', '512'])
def test_parameter_counts_of_adm(fields, size, count):
  found = shapes(
    unet_encoder.UNetEncoder(**CLASSIFIER | fields), (1, size, size, 3))
  assert sum(a.size for a in jax.tree.leaves(found)) == count
