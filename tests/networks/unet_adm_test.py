"""The U-Net with the fields that make it ADM's."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import embeddings, layers, resample, unet, unet_blocks

NORM = functools.partial(layers.GroupNorm, min_channels=1, epsilon=1e-5)
BLOCK = functools.partial(
  unet_blocks.ResidualBlock, scale_shift=True, bare_shortcut=True)
WIDE = functools.partial(unet_blocks.AttentionBlock, head_channels=64)
FOUR = functools.partial(unet_blocks.AttentionBlock, heads=4)
ADM = dict(
  channels=256, multipliers=(1, 1, 2, 2, 4, 4), blocks_per_level=2,
  attention_resolutions=(32, 16, 8), attention_every_up_block=True,
  out_channels=6, skip_rescale=False, norm=NORM, block=BLOCK, attention=WIDE,
  null_label=False,
  encoding=functools.partial(
    embeddings.Positional, cos_first=True, endpoint=False),
  down=functools.partial(BLOCK, resampling=resample.average_down),
  up=functools.partial(BLOCK, resampling=resample.nearest_up))
STRIDED = dict(
  channels=128, blocks_per_level=3, attention_resolutions=(16, 8),
  attention=FOUR, up=unet_blocks.ConvUp,
  down=functools.partial(unet_blocks.ConvDown, centred=True))
CLASSES = dict(num_classes=1000)
X = jax.random.normal(jax.random.key(0), (2, 4, 4, 2))
NOISE = jnp.array([1.5, 400.0])
SMALL = ADM | dict(
  channels=8, multipliers=(1, 2), blocks_per_level=1, out_channels=4,
  attention_resolutions=(2,),
  attention=functools.partial(unet_blocks.AttentionBlock, heads=2))

jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def shapes(net, size, channels=3, **cond):
  cond = {'label': jnp.zeros(1, int), **cond}
  x = jnp.zeros((1, size, size, channels))
  return jax.eval_shape(
    net.init, jax.random.key(0), x, jnp.zeros(1), cond)['params']


def of_block(block, x, emb):
  init = lambda key: block.init(key, x, emb, False)
  return jax.eval_shape(init, jax.random.key(0))['params']


def dense(tree):
  draw = np.random.default_rng(0).normal
  return jax.tree.map(
    lambda a: jnp.asarray(draw(0.1, 0.2, a.shape), a.dtype), tree)


@pytest.mark.parametrize(('fields', 'size', 'count'), [
  (ADM | CLASSES | dict(
    channels=192, multipliers=(1, 2, 3, 4), blocks_per_level=3), 64,
   295_904_454),
  (ADM | CLASSES | dict(
    stem_channels=128, multipliers=(0.5, 1, 1, 2, 2, 4, 4)), 512, 558_997_638),
  (ADM | STRIDED | dict(multipliers=(1, 2, 2, 2)), 32, 52_546_438),
], ids=['ADM 64', 'ADM 512', 'iDDPM CIFAR-10'])
def test_parameter_counts(fields, size, count):
  found = shapes(unet.UNet(**fields), size)
  assert sum(a.size for a in jax.tree.leaves(found)) == count


def test_no_label_is_no_term():
  net = unet.UNet(**SMALL, num_classes=3)
  params = dense(shapes(net, 4, 2))
  assert params['label']['table']['embedding'].shape == (3, 32)
  apply = jit(net.apply)
  bare = {name: part for name, part in params.items() if name != 'label'}
  without = jit(unet.UNet(**SMALL).apply)({'params': bare}, X, NOISE)
  for cond in (None, {}, {'label': jnp.array([-1, -1])}):
    found = apply({'params': params}, X, NOISE, cond)
    np.testing.assert_allclose(found, without, rtol=1e-5, atol=1e-5)
  label = {'label': jnp.array([-1, 2])}
  with_label = apply({'params': params}, X, NOISE, label)
  np.testing.assert_allclose(with_label[0], without[0], rtol=1e-5, atol=1e-5)
  assert abs(with_label[1] - without[1]).max() > 1e-3


def test_an_upsampler_sees_the_smaller_image_enlarged():
  net = unet.UNet(**SMALL, low_res=True)
  small = jax.random.normal(jax.random.key(1), (2, 2, 2, 2))
  params = dense(shapes(net, 4, 2, low_res=small[:1]))
  found = jit(net.apply)({'params': params}, X, NOISE, {'low_res': small})
  # Bilinear with centres at half-integers: weights 1/4 and 3/4, clamped edges.
  rows = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
  large = np.einsum('ih,jw,bhwc->bijc', rows, rows, small)
  beside = jit(unet.UNet(**SMALL).apply)(
    {'params': params}, jnp.concatenate([X, large], -1), NOISE)
  np.testing.assert_allclose(found, beside, rtol=1e-4, atol=1e-5)
  with pytest.raises(ValueError, match=r"give cond\['low_res'\]"):
    jax.eval_shape(net.apply, {'params': params}, X, NOISE)


def test_heads_on_the_way_up_may_differ():
  one = functools.partial(unet_blocks.AttentionBlock, heads=1)
  params = dense(shapes(unet.UNet(**SMALL), 4, 2))
  same, other, all_one = (
    jit(unet.UNet(**SMALL | fields).apply)({'params': params}, X, NOISE)
    for fields in (dict(attention_up=SMALL['attention']),
                   dict(attention_up=one), dict(attention=one)))
  plain = jit(unet.UNet(**SMALL).apply)({'params': params}, X, NOISE)
  np.testing.assert_array_equal(same, plain)
  assert abs(other - plain).max() > 1e-4
  assert abs(other - all_one).max() > 1e-4


def test_scale_and_shift_follow_the_second_norm():
  plain = lambda **_: lambda h: h
  block = unet_blocks.ResidualBlock(
    channels=3, norm=plain, activation=lambda h: h, scale_shift=True)
  x, emb = jnp.ones((2, 1, 1, 3)), jax.random.normal(jax.random.key(2), (2, 5))
  params = dense(of_block(block, x, emb))
  assert params['emb']['kernel'].shape == (5, 6)
  out = block.apply({'params': params}, x, emb, False)
  # Of a single point a padded convolution sees the centre of its kernel.
  centre = lambda name, h: (
    h @ params[name]['kernel'][1, 1] + params[name]['bias'])
  scale, shift = np.split(
    emb @ params['emb']['kernel'] + params['emb']['bias'], 2, -1)
  h = centre('conv_0', x[:, 0, 0]) * (1 + scale) + shift
  np.testing.assert_allclose(
    out[:, 0, 0], x[:, 0, 0] + centre('conv_1', h), rtol=1e-5)


@pytest.mark.parametrize(('bare', 'channels', 'has'), [
  (True, 4, False), (True, 8, True), (False, 4, True)])
def test_a_bare_shortcut_has_a_convolution_only_to_change_channels(
  bare, channels, has
):
  block = unet_blocks.ResidualBlock(
    channels=channels, bare_shortcut=bare, resampling=resample.average_down)
  found = of_block(block, jnp.zeros((1, 2, 2, 4)), None)
  assert ('shortcut' in found) == has


def test_a_centred_stride_reads_around_every_second_pixel():
  x = np.random.default_rng(0).normal(size=(1, 4, 6, 1)).astype(np.float32)
  down = unet_blocks.ConvDown(channels=1, centred=True)
  kernel = np.arange(9.0, dtype=np.float32).reshape(3, 3, 1, 1)
  out = down.apply(
    {'params': {'conv': {'kernel': kernel, 'bias': np.zeros(1)}}}, x)
  padded = np.pad(x[0, :, :, 0], 1)
  for i in range(2):
    for j in range(3):
      window = padded[2 * i:2 * i + 3, 2 * j:2 * j + 3]
      np.testing.assert_allclose(
        out[0, i, j, 0], (window * kernel[:, :, 0, 0]).sum(), rtol=1e-4)


def test_widths_of_heads_divide_the_channels():
  block = unet_blocks.AttentionBlock(channels=8, head_channels=3)
  with pytest.raises(ValueError, match='width 3 do not divide 8'):
    of_block(block, jnp.zeros((1, 2, 2, 8)), None)
