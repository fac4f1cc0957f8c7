"""EDM2's U-Net: published sizes, labels, dtypes; outputs are in interop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import pytree
from difjax.networks import edm2, edm2_layers

NET = edm2.MPUNet(
  channels=8, multipliers=(1, 2), blocks_per_level=1, num_classes=3,
  attention_resolutions=(2,), channels_per_head=8, dropout=0.5)
SMALL = NET.clone(multipliers=(1,))
X = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
NOISE = jnp.array([-1.5, 0.0, 0.8])
LABEL = jnp.array([0, 2, 1])


def drawn(net):
  """Random parameters, every gain away from zero, so that nothing hides.

  Not of `init`, of whose draws every shape compiles a program.
  """
  shapes = jax.eval_shape(net.init, jax.random.key(1), X, NOISE)['params']
  draw = np.random.default_rng(1).normal
  return jax.tree.map(
    lambda a: np.float32(draw(size=a.shape) if a.ndim else 0.5), shapes)


@pytest.fixture(scope='module')
def params():
  return drawn(NET)


@pytest.fixture(scope='module')
def apply():
  jitted = jax.jit(NET.apply)
  return lambda params, *args: jitted({'params': params}, *args)


@pytest.mark.parametrize(('channels', 'classes', 'out', 'published'), [
  (128, 1000, 4, 124_713_253),
  (128, 0, 4, 124_201_253),
  (192, 1000, 3, 280_209_381),
  (384, 1000, 3, 1_119_276_837),
  (192, 1000, 4, 280_212_837),
  (256, 1000, 4, 497_807_781),
  (320, 1000, 4, 777_498_085),
  (384, 1000, 4, 1_119_283_749),
  (448, 1000, 4, 1_523_164_773),
], ids=['XS', 'XS unconditional', 'S 64', 'XL 64', 'S', 'M', 'L', 'XL', 'XXL'])
def test_published_parameter_counts(channels, classes, out, published):
  """Official counts have the learned variance and no fixed frequencies."""
  net = edm2.MPUNet(channels=channels, num_classes=classes)
  shapes = jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros((1, 64, 64, out)), jnp.zeros(1))
  beside = jax.eval_shape(
    edm2_layers.LogVariance().init, jax.random.key(0), jnp.zeros(1))
  leaves = pytree.named_leaves([shapes, beside])
  trained = [leaf for name, leaf in leaves if 'encoding' not in name]
  assert pytree.count(trained) == published


def test_fresh_output_is_exactly_zero():
  """Of the smallest network that there is."""
  net = edm2.MPUNet(
    channels=4, multipliers=(1,), blocks_per_level=0, attention_resolutions=(),
    channels_per_head=8)
  out, variables = net.init_with_output(jax.random.key(1), X[:1], NOISE[:1])
  assert out.shape == X[:1].shape
  np.testing.assert_array_equal(out, 0)
  moved = {**variables['params'], 'gain': 1.0}
  assert abs(net.apply({'params': moved}, X[:1], NOISE[:1])).max() > 0.1


def test_the_first_convolution_has_the_width_of_its_level():
  """Not of `channels`, where the first multiplier is another than 1."""
  net = NET.clone(multipliers=(3, 2))
  p = jax.eval_shape(net.init, jax.random.key(0), X, NOISE)['params']
  assert p['stem']['kernel'].shape == (3, 3, 3, 24)
  assert p['encoding']['frequencies'].shape == (24,)
  assert p['head']['kernel'].shape == (3, 3, 24, 2)


def test_absent_label_is_null_exactly(params, apply):
  null = apply(params, X, NOISE, {'label': jnp.full(3, -1)})
  np.testing.assert_array_equal(apply(params, X, NOISE), null)
  np.testing.assert_array_equal(apply(params, X, NOISE, {}), null)
  mixed = apply(params, X, NOISE, {'label': LABEL.at[1].set(-1)})
  np.testing.assert_array_equal(mixed[1], null[1])
  assert abs(mixed[0] - null[0]).max() > 1e-3


def test_a_label_that_is_none_is_nan(params, apply):
  out = apply(params, X, NOISE, {'label': jnp.array([0, 3, 1])})
  assert np.isnan(out[1]).all() and np.isfinite(out[::2]).all()


def test_label_and_noise_matter_to_their_own_sample_only(params, apply):
  out = apply(params, X, NOISE, {'label': LABEL})
  other = apply(params, X, NOISE.at[1].set(0.3), {'label': LABEL})
  assert abs(out - other)[1].max() > 1e-3
  np.testing.assert_allclose(out[::2], other[::2], atol=1e-6)


def test_widths_of_the_embedding():
  net = NET.clone(noise_multiplier=3, embedding_multiplier=5)
  p = jax.eval_shape(net.init, jax.random.key(0), X, NOISE)['params']
  assert p['time']['kernel'].shape == (24, 40)
  assert p['up_0_block_0']['emb']['kernel'].shape == (40, 8)


@pytest.fixture(scope='module')
def small():
  """Of a network of one level its parameters and its output."""
  params = drawn(SMALL)
  return params, jax.jit(SMALL.apply)(
    {'params': params}, X, NOISE, {'label': LABEL})


@pytest.mark.parametrize('field', [
  dict(label_balance=0.2), dict(concat_balance=0.2),
  dict(residual_balance=0.1), dict(attention_balance=0.1), dict(clip=0.1),
  dict(channels_per_head=4),
])
def test_every_option_matters(small, field):
  params, out = small
  other = jax.jit(SMALL.clone(**field).apply)(
    {'params': params}, X, NOISE, {'label': LABEL})
  assert abs(out - other).max() > 1e-4


def test_the_filter_matters(params, apply):
  """And its order of taps: it doubles with them, and halves backwards."""
  out = apply(params, X, NOISE, {'label': LABEL})
  first, last = (
    jax.jit(NET.clone(kernel=kernel).apply)(
      {'params': params}, X, NOISE, {'label': LABEL})
    for kernel in ((1, 3, 3, 1), (1, 3, 2, 0)))
  assert abs(out - first).max() > 1e-4
  assert abs(first - last).max() > 1e-4


def test_dropout_acts_in_training_only(small):
  params, out = small
  run = jax.jit(lambda seed: SMALL.apply(
    {'params': params}, X, NOISE, {'label': LABEL}, train=True,
    rngs={'dropout': jax.random.key(seed)}))
  np.testing.assert_array_equal(run(0), run(0))
  assert abs(run(0) - run(1)).max() > 1e-3
  assert abs(run(0) - out).max() > 1e-3


def test_half_precision_is_close_and_keeps_float32_outside(small):
  """Step by step: in one program XLA has no such product on a CPU."""
  half, (params, out) = SMALL.clone(dtype=jnp.float16), small
  shapes = jax.eval_shape(half.init, jax.random.key(1), X, NOISE)
  assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(shapes))
  close = half.apply({'params': params}, X, NOISE, {'label': LABEL})
  assert close.dtype == out.dtype == jnp.float32
  assert 0 < abs(out - close).max() < 0.02 * abs(out).max()


def test_gradients_and_what_remat_leaves_of_them(small):
  """All but fixed frequencies have one; a mean square is a scalar of all."""
  def gradients(net):
    def loss(params):
      out = net.apply({'params': params}, X, NOISE, {'label': LABEL})
      return jnp.square(out - 1).mean()
    return jax.jit(jax.grad(loss))(small[0])

  plain, remat = gradients(SMALL), gradients(SMALL.clone(remat=True))
  for name, g in pytree.named_leaves(plain):
    assert jnp.isfinite(g).all(), name
    assert (abs(g) > 0).any() != name.startswith('encoding'), name
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    plain, remat)


def test_unfit_sizes_are_named_with_a_remedy():
  with pytest.raises(ValueError, match='cannot be halved 1 times; resize'):
    NET.init(jax.random.key(0), jnp.zeros((1, 5, 4, 2)), jnp.zeros(1))
