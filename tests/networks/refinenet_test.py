from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import embeddings, refinenet

LADDER = embeddings.SigmaOfIndex(sigma_min=0.1, sigma_max=10.0, levels=3)
SMALL = dict(
  channels=3, multipliers=(1, 2), dilations=(1, 1), refine_multipliers=(1, 2),
  sigma=None)
X = jax.random.normal(jax.random.key(0), (3, 4, 2, 2))
NOISE = jnp.array([0, 1, 2])
SIGMA = np.array([10, 1, 0.1])

# Compiling is what these tests cost; the arithmetic is the same.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def shapes(net, shape):
  return jax.eval_shape(
    net.init, jax.random.key(0), jnp.zeros(shape), jnp.zeros(shape[0])
  )['params']


def dense(net):
  """Parameters of which none is zero, so that nothing hides."""
  draw = np.random.default_rng(0).normal
  return {'params': jax.tree.map(
    lambda a: draw(0.1, 0.2, a.shape).astype(a.dtype), shapes(net, X.shape))}


@functools.cache
def plain():
  net = refinenet.RefineNet(**SMALL)
  params = dense(net)
  return params, jit(net.apply)(params, X, NOISE)


def close(found, expected):
  scale = abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)


# Counted in the official networks, with 128 channels: the last in PyTorch, the
# others in JAX.
@pytest.mark.parametrize(('fields', 'count'), [
  (dict(levels=232), 44_828_931),
  (dict(), 33_970_563),
  (dict(
    multipliers=(1, 2, 2, 4, 4), dilations=(1, 1, 1, 2, 4),
    refine_multipliers=(1, 1, 2, 2, 4)), 83_445_379),
  (dict(
    multipliers=(1, 2, 2, 2, 4, 4), dilations=(1, 1, 1, 1, 2, 4),
    refine_multipliers=(1, 1, 2, 2, 2, 4)), 94_132_611),
  (dict(refine_multipliers=(1, 1, 2, 2)), 29_694_083),
])
def test_parameter_counts_of_score_sde(fields, count):
  found = shapes(refinenet.RefineNet(**fields), (1, 32, 32, 3))
  assert sum(a.size for a in jax.tree.leaves(found)) == count


@pytest.mark.parametrize(('align_corners', 'expected'), [
  (True, [0, 1, 2, 3]), (False, [0, 0.75, 2.25, 3])])
def test_enlarge_by_hand(align_corners, expected):
  x = jnp.array([0.0, 3.0])[None, :, None, None]
  y = refinenet.enlarge(x, 4, 1, align_corners=align_corners)
  np.testing.assert_allclose(y[0, :, 0, 0], expected, rtol=1e-6)
  turned = refinenet.enlarge(
    x.swapaxes(1, 2), 1, 4, align_corners=align_corners)
  np.testing.assert_allclose(turned[0, 0, :, 0], expected, rtol=1e-6)


def test_stages_halve_or_dilate():
  halved = jax.eval_shape(
    refinenet.Residual(4, refinenet.norms.InstanceNormPlus, 1, down=True)
    .init_with_output, jax.random.key(0), X, NOISE)
  dilated = jax.eval_shape(
    refinenet.Residual(4, refinenet.norms.InstanceNormPlus, 2, down=True)
    .init_with_output, jax.random.key(0), X, NOISE)
  assert halved[0].shape == (3, 2, 1, 4)
  assert dilated[0].shape == (3, 4, 2, 4)


def test_output_is_divided_by_the_sigma_of_its_level():
  params, out = plain()
  net = refinenet.RefineNet(**{**SMALL, 'sigma': LADDER})
  # A level may come as a number that is whole but for rounding.
  found = jit(net.apply)(params, X, NOISE + 1e-3)
  assert found.shape == X.shape
  close(found, out / SIGMA[:, None, None, None])


def test_unit_range_is_doubled_and_shifted():
  params, out = plain()
  net = refinenet.RefineNet(**SMALL, unit_range=True)
  close(jit(net.apply)(params, (X + 1) / 2, NOISE), out)


def test_level_matters_to_its_own_sample_only():
  net = refinenet.RefineNet(**SMALL, levels=3)
  params, apply = dense(net), jit(net.apply)
  out, other = (apply(params, X, n) for n in (NOISE, NOISE.at[1].set(2)))
  assert abs(out - other)[1].max() > 1e-3 * abs(out).max()
  close(other[::2], out[::2])
  params, out = plain()
  same = jit(refinenet.RefineNet(**SMALL).apply)(params, X, NOISE[::-1])
  np.testing.assert_array_equal(same, out)


def test_bfloat16_is_close():
  params, out = plain()
  net = refinenet.RefineNet(**SMALL, dtype=jnp.bfloat16)
  half = jit(net.apply)(params, X, NOISE)
  assert out.dtype == half.dtype == jnp.float32
  assert 0 < abs(out - half).max() < 0.1 * abs(out).max()


def test_gradients_reach_every_parameter():
  net = refinenet.RefineNet(**{
    **SMALL, 'multipliers': (1,), 'dilations': (1,), 'levels': 3,
    'refine_multipliers': (1,)})
  grads = jit(jax.grad(
    lambda p: jnp.square(net.apply(p, X, NOISE, train=True) - 1).mean()
  ))(dense(net))
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.isfinite(g).all(), path
    assert (abs(g) > 0).any(), path


def test_an_odd_size_is_named_with_a_remedy():
  with pytest.raises(ValueError, match=r'\(7, 4\).*odd; resize or pad'):
    shapes(refinenet.RefineNet(**SMALL), (1, 7, 4, 2))
