from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import embeddings, layers, resample, unet, unet_blocks

SMALL = dict(
  channels=8, multipliers=(1, 2), blocks_per_level=1,
  attention_resolutions=(4,), num_classes=3, out_channels=2, dropout=0.5)
STRIDED = dict(
  down=unet_blocks.ConvDown, up=unet_blocks.ConvUp, skip_rescale=False)
DDPM = dict(
  STRIDED, norm=functools.partial(layers.GroupNorm, min_channels=1))
X = jax.random.normal(jax.random.key(0), (3, 8, 6, 1))
NOISE = jnp.array([0.0, 1.5, 400.0])
LABEL = jnp.array([0, 2, 1])

# Compiling is what these tests cost; the arithmetic is the same.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def shapes(net, x):
  return jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros(x), jnp.zeros(x[0]))['params']


def dense(net):
  """Parameters of which none is zero, so that nothing hides."""
  draw = np.random.default_rng(0).normal
  return {'params': jax.tree.map(
    lambda a: draw(0.1, 0.2, a.shape).astype(a.dtype), shapes(net, X.shape))}


@pytest.fixture(scope='module', params=[{}, STRIDED], ids=['biggan', 'strided'])
def net(request):
  return unet.UNet(**SMALL, **request.param)


@pytest.fixture(scope='module')
def params(net):
  return dense(net)


@pytest.fixture(scope='module')
def apply(net):
  return jit(net.apply)


FIR = dict(
  down=functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.FIRDown()),
  up=functools.partial(unet_blocks.ResidualBlock, resampling=resample.FIRUp()))
NCSNPP = dict(FIR, input_residual=functools.partial(
  unet_blocks.ConvDown, kernel=(1, 3, 3, 1)))
SKIPS = dict(
  FIR, input_skip=resample.FIRDown(), output_skip=resample.FIRUp(),
  encoding=embeddings.Fourier)
FOURIER = dict(NCSNPP, encoding=embeddings.Fourier)
DEEP, SHALLOW = dict(blocks_per_level=8), dict(blocks_per_level=2)


@pytest.mark.parametrize(('fields', 'size', 'count'), [
  (dict(), 32, 61_804_419),
  (DEEP, 32, 106_632_579),
  (NCSNPP, 32, 62_693_251),
  (NCSNPP | DEEP, 32, 107_521_411),
  (FOURIER, 32, 62_758_915),
  (FOURIER | DEEP, 32, 107_587_075),
  (SKIPS | SHALLOW | dict(multipliers=(1, 1, 2, 2, 2, 2, 2)), 256, 65_574_549),
  (SKIPS | dict(channels=16, blocks_per_level=1,
                multipliers=(1, 2, 4, 8, 16, 32, 32, 32)), 1024, 105_785_896),
  (DDPM | SHALLOW, 32, 35_218_947),
  (DDPM | SHALLOW | dict(conditional=False), 32, 32_329_347),
  (DDPM | SHALLOW | dict(multipliers=(1, 1, 2, 2, 4, 4)), 256, 111_569_923),
], ids=['ddpmpp', 'ddpmpp deep', 'ncsnpp', 'ncsnpp deep', 'ncsnpp continuous',
        'ncsnpp continuous deep', 'ncsnpp 256', 'ncsnpp 1024', 'ddpm',
        'ddpm unconditional', 'ddpm 256'])
def test_parameter_counts_of_score_sde(fields, size, count):
  found = shapes(unet.UNet(**fields), (1, size, size, 3))
  assert sum(a.size for a in jax.tree.leaves(found)) == count


def attentions(**fields):
  net = unet.UNet(**{**SMALL, 'blocks_per_level': 2, **fields})
  return {k for k in shapes(net, (1, 8, 8, 1)) if 'attention' in k}


def test_attention_stands_at_its_resolutions():
  assert attentions() == {
    'down_1_attention_0', 'down_1_attention_1', 'mid_attention',
    'up_1_attention_2'}
  assert attentions(attention_resolutions=()) == {'mid_attention'}
  every = attentions(attention_every_up_block=True)
  assert every - attentions() == {'up_1_attention_0', 'up_1_attention_1'}


def test_fresh_network_is_nearly_zero_with_float32_parameters():
  net = unet.UNet(**{**SMALL, 'multipliers': (1,), 'dtype': jnp.bfloat16})
  out, fresh = jit(net.init_with_output)(
    jax.random.key(1), X, NOISE, {'label': LABEL})
  assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(fresh))
  assert out.shape == (3, 8, 6, 2)
  assert out.dtype == jnp.float32
  # The last convolution is drawn with variance of order 1e-10.
  assert 0 < abs(out).max() < 1e-3


def test_absent_label_is_null_exactly(params, apply):
  null = apply(params, X, NOISE, {'label': jnp.full(3, -1)})
  np.testing.assert_array_equal(apply(params, X, NOISE), null)
  np.testing.assert_array_equal(apply(params, X, NOISE, {}), null)
  mixed = apply(params, X, NOISE, {'label': LABEL.at[1].set(-1)})
  np.testing.assert_array_equal(mixed[1], null[1])


def test_label_and_noise_matter_to_their_own_sample_only(params, apply):
  out = apply(params, X, NOISE, {'label': LABEL})
  other = apply(params, X, NOISE, {'label': LABEL.at[1].set(0)})
  assert abs(out - other)[1].max() > 1e-3
  np.testing.assert_allclose(out[::2], other[::2], atol=1e-5)
  later = apply(params, X, NOISE.at[1].set(30.0), {'label': LABEL})
  assert abs(out - later)[1].max() > 1e-3
  np.testing.assert_allclose(out[::2], later[::2], atol=1e-5)


def test_bfloat16_is_close(params, apply, net):
  out = apply(params, X, NOISE, {'label': LABEL})
  half = jit(net.clone(dtype=jnp.bfloat16).apply)
  close = half(params, X, NOISE, {'label': LABEL})
  assert out.dtype == close.dtype == jnp.float32
  assert 0 < abs(out - close).max() < 0.05 * abs(out).max()


def gradients(net):
  def loss(params, key):
    out = net.apply(params, X, NOISE, {'label': LABEL}, train=True,
                    rngs={'dropout': key})
    return jnp.square(out - 1).mean(), out
  return jit(jax.value_and_grad(loss, has_aux=True))


def test_training_drops_out_and_reaches_every_parameter():
  net = unet.UNet(**{**SMALL, 'blocks_per_level': 0})
  params, one, two = dense(net), jax.random.key(0), jax.random.key(1)
  plain = gradients(net)
  (_, out), grads = plain(params, one)
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.isfinite(g).all(), path
    assert (abs(g) > 0).any(), path
  assert abs(plain(params, two)[0][1] - out).max() > 1e-3
  # Recomputation must draw the same mask again.
  (_, same), regained = gradients(net.clone(remat=True))(params, one)
  np.testing.assert_allclose(out, same, rtol=1e-4, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-3, atol=1e-4 * abs(a).max()), grads, regained)


ONE_LEVEL = unet.UNet(
  channels=4, multipliers=(1,), blocks_per_level=0, attention_resolutions=())


def test_float64_images_are_computed_in_float64():
  params = dense(ONE_LEVEL)
  with jax.enable_x64(True):
    exact = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x = np.asarray(X, np.float64) + 1e-10  # lost in float32
    one, two = (ONE_LEVEL.apply(exact, jnp.asarray(v), jnp.asarray(NOISE))
                for v in (x, x + 1e-10))
    assert one.dtype == jnp.float64
    assert 0 < abs(one - two).max() < 1e-7


def test_input_and_output_conventions():
  params = dense(ONE_LEVEL)
  run = lambda x, noise, **fields: ONE_LEVEL.clone(**fields).apply(
    params, x, noise)
  noise = jnp.array([1.0, 2.0, 4.0])
  plain = run(X, noise)
  close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=1e-4)
  close(run((X + 1) / 2, noise, unit_range=True), plain)
  scaled = run(X, noise, scale_by_sigma=True)
  close(scaled * noise[:, None, None, None], plain)
  squared = run(X, noise, scale_by_sigma=True, sigma=jnp.square)
  close(squared * noise[:, None, None, None] ** 2, plain)


def test_unconditional_network_has_no_embedding_and_ignores_noise():
  net = ONE_LEVEL.clone(conditional=False)
  params = dense(net)
  assert 'time' not in params['params']
  assert 'emb' not in params['params']['mid_block_0']
  np.testing.assert_array_equal(
    net.apply(params, X, NOISE), net.apply(params, X, NOISE + 7))


def test_init_scale_reaches_branches_and_head():
  net = ONE_LEVEL.clone(init_scale=1.0)
  params = net.init(jax.random.key(0), X, NOISE)['params']
  for path in ('mid_block_0/conv_1', 'mid_attention/attention/out', 'head'):
    leaf = functools.reduce(lambda p, k: p[k], path.split('/'), params)
    assert leaf['kernel'].std() > 0.01, path


def test_output_skip_sums_the_heads_of_all_levels():
  # With heads that put out their bias alone the sum is plain arithmetic.
  net = unet.UNet(**{
    **SMALL, 'blocks_per_level': 0, 'num_classes': 0, 'out_channels': None,
    'output_skip': resample.nearest_up})
  params = dense(net)['params']
  for level, bias in ((0, 3.0), (1, 5.0)):
    head = params[f'head_{level}']
    params[f'head_{level}'] = dict(
      kernel=0 * head['kernel'], bias=jnp.full((1,), bias))
  assert 'head' not in params
  np.testing.assert_allclose(net.apply({'params': params}, X, NOISE), 8.0)


@pytest.mark.parametrize('shape', [(1, 9, 8, 1), (1, 8, 8)])
def test_unfit_sizes_are_named_with_a_remedy(shape):
  with pytest.raises(ValueError, match=r'halved 1 times; resize.*by 2'):
    unet.UNet(**SMALL).init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(1))


@pytest.mark.parametrize(('rescale', 'factor'), [(False, 1), (True, 0.5**0.5)])
@pytest.mark.parametrize(
  'part', [unet_blocks.ResidualBlock, unet_blocks.AttentionBlock])
def test_fresh_part_is_its_shortcut(part, rescale, factor):
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
  module = part(channels=8, skip_rescale=rescale)
  y, variables = jit(
    module.init_with_output, static_argnums=3)(
      jax.random.key(1), x, jnp.ones((1, 4)), False)
  assert 'shortcut' not in variables['params']
  np.testing.assert_allclose(y, factor * x, atol=1e-3)


def test_fresh_resampling_block_resamples_its_shortcut():
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
  module = unet_blocks.ResidualBlock(
    channels=8, resampling=resample.average_down)
  y, variables = jit(
    module.init_with_output, static_argnums=3)(
      jax.random.key(1), x, jnp.ones((1, 4)), False)
  kernel = variables['params']['shortcut']['kernel'][0, 0]
  expected = np.einsum('bhwc,cd->bhwd', resample.average_down(x), kernel)
  np.testing.assert_allclose(y, expected, atol=1e-3)


def test_down_convolution_pads_right_and_bottom():
  x = np.asarray(jax.random.normal(jax.random.key(0), (1, 4, 4, 2)))
  y, variables = unet_blocks.ConvDown(channels=3).init_with_output(
    jax.random.key(1), x, None, False)
  kernel = np.asarray(variables['params']['conv']['kernel'])
  padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
  expected = [[np.tensordot(padded[0, 2 * i:2 * i + 3, 2 * j:2 * j + 3],
                            kernel, 3) for j in range(2)] for i in range(2)]
  np.testing.assert_allclose(y[0], expected, atol=1e-5)


def test_up_convolution_sees_repeated_values():
  x = jax.random.normal(jax.random.key(0), (1, 2, 2, 2))
  centre = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(jnp.eye(2))
  y = unet_blocks.ConvUp(channels=2).apply(
    {'params': {'conv': {'kernel': centre, 'bias': jnp.zeros(2)}}},
    x, None, False)
  np.testing.assert_array_equal(y, resample.nearest_up(x))
