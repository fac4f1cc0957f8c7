from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import dit

NET = dit.DiT(width=16, depth=2, heads=2, out_channels=3, num_classes=3,
              dropout=0.5)
X = jax.random.normal(jax.random.key(0), (3, 4, 6, 1))
NOISE = jnp.array([0.0, 1.5, 400.0])
LABEL = jnp.array([0, 2, 1])


# Compiling is what these tests cost; the arithmetic is the same.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@pytest.fixture(scope='module')
def fresh():
  return jit(NET.init)(jax.random.key(1), X, NOISE)


@pytest.fixture(scope='module')
def params(fresh):
  """Every parameter moved, so that nothing hides behind a zero."""
  draw = np.random.default_rng(0).normal
  return jax.tree.map(
    lambda a: a + draw(0, 0.1, a.shape).astype(a.dtype), fresh)


@pytest.fixture(scope='module')
def apply():
  return jit(NET.apply)


@pytest.fixture(scope='module')
def training():
  """The network in training with a dropout key: output and gradients."""
  def compiled(**fields):
    net = NET.clone(**fields)

    def loss(params, key):
      out = net.apply(params, X, NOISE, {'label': LABEL}, train=True,
                      rngs={'dropout': key})
      return jnp.square(out - 1).mean(), out

    return jit(jax.value_and_grad(loss, has_aux=True))
  return compiled


@pytest.fixture(scope='module')
def plain(training):
  return training()


SIZES = {  # width, depth, heads
  'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16),
  'XL': (1152, 28, 16),
}  # fmt: skip


@pytest.mark.parametrize(('size', 'patch', 'count'), [
  ('S', 8, 33_142_016), ('S', 4, 32_920_448), ('S', 2, 32_865_056),
  ('B', 8, 130_869_248), ('B', 4, 130_426_496), ('B', 2, 130_315_808),
  ('L', 8, 458_578_432), ('L', 4, 457_988_224), ('L', 2, 457_840_672),
  ('XL', 8, 675_664_640), ('XL', 4, 675_000_704), ('XL', 2, 674_834_720),
])  # fmt: skip
def test_parameter_counts_of_the_paper(size, patch, count):
  assert parameters(size, patch, out_channels=8) == count


def test_sit_has_as_many_parameters_as_dit():
  """It keeps the head, of which half is spare."""
  assert parameters('XL', 2, spare_channels=4) == 674_834_720


def parameters(size, patch, **channels):
  width, depth, heads = SIZES[size]
  net = dit.DiT(patch=(patch, patch), width=width, depth=depth, heads=heads,
                num_classes=1000, **channels)
  shapes = jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)), jnp.zeros(1))
  return sum(a.size for a in jax.tree.leaves(shapes))


def test_patches_by_hand():
  x = np.arange(2 * 4 * 2).reshape(1, 2, 4, 2)
  tokens = dit.patchify(x, (2, 2))
  # The second token holds columns 2 and 3 of both rows, channels innermost.
  np.testing.assert_array_equal(tokens[0, 1], [4, 5, 6, 7, 12, 13, 14, 15])


@pytest.mark.parametrize(
  ('sizes', 'patch'), [((6,), (3,)), ((4, 6), (2, 3)), ((4, 2, 6), (2, 1, 3))])
def test_unpatchify_inverts_patchify(sizes, patch):
  x = np.random.default_rng(0).normal(size=(2, *sizes, 3))
  tokens = dit.patchify(x, patch)
  grid = tuple(s // p for s, p in zip(sizes, patch, strict=True))
  assert tokens.shape == (2, np.prod(grid), np.prod(patch) * 3)
  np.testing.assert_array_equal(dit.unpatchify(tokens, grid, patch), x)


@pytest.mark.parametrize(
  ('sizes', 'patch'), [((6,), (3,)), ((4, 6), (2, 3)), ((4, 2, 6), (2, 1, 3))])
def test_grids_of_any_rank(sizes, patch):
  net = dit.DiT(patch=patch, width=24, depth=1, heads=2)
  x = jnp.zeros((2, *sizes, 3))
  out, _ = jax.eval_shape(
    net.init_with_output, jax.random.key(0), x, jnp.zeros(2))
  assert out.shape == x.shape


@pytest.mark.parametrize(('sizes', 'patch'), [
  ((12,), (4,)), ((3, 2, 4), (1, 2, 2))], ids=['audio', 'video'])
def test_parameters_fit_patches_of_as_many_numbers(sizes, patch):
  """Of any rank; and there too every patch sees every other."""
  square, net = NET.clone(width=24), NET.clone(patch=patch, width=24)
  x = jax.random.normal(jax.random.key(0), (3, *sizes, 1))
  shapes = jax.eval_shape(square.init, jax.random.key(0), X, NOISE)
  draw = np.random.default_rng(0).normal
  params = jax.tree.map(
    lambda a: draw(0, 0.3, a.shape).astype(np.float32), shapes)
  first = (slice(None), *(slice(p) for p in patch))
  grads = jit(jax.grad(lambda x: net.apply(params, x, NOISE)[first].sum()))(x)
  assert grads.shape == x.shape
  assert (abs(grads) > 0).all()


def test_spare_channels_are_the_last_of_the_head(params, apply):
  spare = NET.clone(out_channels=2, spare_channels=1)
  np.testing.assert_allclose(
    jit(spare.apply)(params, X, NOISE, {'label': LABEL}),
    apply(params, X, NOISE, {'label': LABEL})[..., :2], atol=1e-6)


def test_without_a_null_row_no_label_adds_nothing(params, apply):
  net = NET.clone(null_label=False)
  table = params['params']['label']['table']['embedding']
  blank = {'embedding': table.at[-1].set(0)}
  with_row = {'params': {**params['params'], 'label': {'table': blank}}}
  without = {'params': {
    **params['params'], 'label': {'table': {'embedding': table[:-1]}}}}
  label = {'label': LABEL.at[1].set(-1)}
  np.testing.assert_allclose(
    jit(net.apply)(without, X, NOISE, label),
    apply(with_row, X, NOISE, label), atol=1e-6)


@pytest.mark.usefixtures('x64')
def test_float64_is_computed_throughout(params):
  """A step of 1e-10 is seen, which float32 would round away."""
  x, params = np.float64(X), jax.tree.map(np.float64, params)
  out = NET.apply(params, x, NOISE, {'label': LABEL})
  assert out.dtype == np.float64
  moved = NET.apply(params, x + 1e-10, NOISE, {'label': LABEL})
  assert 0 < abs(moved - out).max() < 1e-8
  whole = NET.apply(params, x, jnp.array([0, 1, 999]), {'label': LABEL})
  exact = NET.apply(
    params, x, jnp.array([0.0, 1.0, 999.0]), {'label': LABEL})
  np.testing.assert_array_equal(whole, exact)


def test_fresh_output_is_exactly_zero(fresh, apply):
  out = apply(fresh, X, NOISE, {'label': LABEL})
  assert out.shape == (3, 4, 6, 3)
  np.testing.assert_array_equal(out, 0)


def test_initial_parameters(fresh):
  p = fresh['params']
  np.testing.assert_array_equal(p['blocks']['modulation']['kernel'], 0)
  # Xavier: uniform up to sqrt(6 / (fan_in + fan_out)), of one block and not
  # of the stack.
  for name, fans in (('mlp_hidden', 16 + 64), ('mlp_out', 64 + 16)):
    kernel = p['blocks'][name]['kernel']
    assert kernel.shape[0] == 2
    np.testing.assert_allclose(abs(kernel).max(), (6 / fans) ** 0.5, rtol=0.02)
  time = p['time']['hidden']['kernel']
  np.testing.assert_allclose(time.std(), 0.02, rtol=0.1)
  assert (p['blocks']['mlp_out']['kernel'][0]
          != p['blocks']['mlp_out']['kernel'][1]).all()


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
  np.testing.assert_allclose(out[::2], other[::2], atol=1e-6)
  later = apply(params, X, NOISE.at[1].set(30.0), {'label': LABEL})
  assert abs(out - later)[1].max() > 1e-3
  np.testing.assert_allclose(out[::2], later[::2], atol=1e-6)


def test_positions_tell_equal_patches_apart(params, apply):
  out = apply(params, jnp.ones_like(X), NOISE)
  patches = dit.patchify(out, (2, 2))
  assert abs(patches[:, 0] - patches[:, 1]).max() > 1e-3


def test_unlabelled_network_ignores_labels():
  net = NET.clone(num_classes=0)
  out, variables = jax.eval_shape(
    net.init_with_output, jax.random.key(1), X, NOISE, {'label': LABEL})
  assert 'label' not in variables['params']
  assert out.shape == (3, 4, 6, 3)


def test_bfloat16_is_close_and_keeps_float32_outside(params, apply):
  half = NET.clone(dtype=jnp.bfloat16)
  shapes = jax.eval_shape(half.init, jax.random.key(1), X, NOISE)
  assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(shapes))
  out = apply(params, X, NOISE, {'label': LABEL})
  close = jit(half.apply)(params, X, NOISE, {'label': LABEL})
  assert close.dtype == out.dtype == jnp.float32
  assert 0 < abs(out - close).max() < 0.03 * abs(out).max()


def test_every_parameter_has_a_finite_gradient(params, plain):
  _, grads = plain(params, jax.random.key(0))
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.isfinite(g).all(), path
    assert (abs(g) > 0).any(), path


@pytest.mark.parametrize('fields', [
  dict(remat=True),
  dict(remat=True, remat_policy=jax.checkpoint_policies.dots_saveable),
  dict(unroll=2),
], ids=['remat', 'policy', 'unroll'])
def test_memory_and_unrolling_change_nothing(params, plain, training, fields):
  key = jax.random.key(0)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    plain(params, key), training(**fields)(params, key))


def test_dropout_acts_in_training_only(params, plain, apply):
  (_, one), _ = plain(params, jax.random.key(0))
  (_, same), _ = plain(params, jax.random.key(0))
  (_, two), _ = plain(params, jax.random.key(1))
  np.testing.assert_array_equal(one, same)
  assert abs(one - two).max() > 1e-3
  assert abs(one - apply(params, X, NOISE, {'label': LABEL})).max() > 1e-3


@pytest.mark.parametrize(('shape', 'message'), [
  ((1, 4, 5, 1), r'\(4, 5\) is not divisible by patch \(2, 2\); resize'),
  ((1, 4, 1), r'shape \(1, 4, 1\); give `patch`'),
])
def test_unfit_sizes_are_named_with_a_remedy(shape, message):
  with pytest.raises(ValueError, match=message):
    NET.init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(1))
