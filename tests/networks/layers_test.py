from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import layers


@pytest.mark.parametrize(('scale', 'expected'), [(1.0, 1.0), (0.0, 1e-10)])
def test_fan_average_is_uniform_with_the_stated_variance(scale, expected):
  w = layers.fan_average(scale)(jax.random.key(0), (3, 3, 32, 96), jnp.float32)
  variance = expected / ((9 * 32 + 9 * 96) / 2)
  np.testing.assert_allclose(w.var(), variance, rtol=0.05)
  # A uniform variable of variance v ends at sqrt(3 v).
  np.testing.assert_allclose(abs(w).max(), (3 * variance) ** 0.5, rtol=1e-3)


def group_statistics(y, groups):
  y = np.asarray(y, np.float64)
  y = y.reshape(y.shape[0], -1, groups, y.shape[-1] // groups)
  return y.mean((1, 3)), y.var((1, 3))


@pytest.mark.parametrize(
  ('channels', 'min_channels', 'groups'),
  [(16, 4, 4), (256, 4, 32), (32, 1, 32)])
def test_group_norm_normalises_each_group(channels, min_channels, groups):
  # A mean far above the deviation shows a variance by difference of squares.
  x = np.random.default_rng(0).normal(300, 1, (2, 4, 4, channels))
  norm = layers.GroupNorm(min_channels=min_channels)
  y, _ = jax.jit(norm.init_with_output)(
    jax.random.key(1), x.astype(np.float32))
  mean, variance = group_statistics(y, groups)
  np.testing.assert_allclose(mean, 0, atol=1e-3)
  np.testing.assert_allclose(variance, 1, atol=1e-3)
  if groups < channels:
    _, finer = group_statistics(y, groups * 2)
    assert abs(finer - 1).max() > 1e-2


def test_group_norm_has_statistics_in_float32_under_bfloat16():
  x = np.random.default_rng(0).normal(8, 1, (2, 16, 16, 8))
  norm = layers.GroupNorm(dtype=jnp.bfloat16)
  y, variables = jax.jit(norm.init_with_output)(
    jax.random.key(1), x.astype(jnp.bfloat16))
  assert y.dtype == jnp.bfloat16
  assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))
  mean, variance = group_statistics(y, 2)
  np.testing.assert_allclose(mean, 0, atol=2e-3)
  np.testing.assert_allclose(variance, 1, atol=5e-3)


def test_group_norm_names_the_channels_that_it_cannot_group():
  with pytest.raises(ValueError, match='50 channels'):
    layers.GroupNorm().init(jax.random.key(0), jnp.zeros((1, 2, 2, 50)))


def mesh(**axes):
  return jax.make_mesh(
    tuple(axes.values()), tuple(axes),
    axis_types=(jax.sharding.AxisType.Auto,) * len(axes))


def primitives(x, *axes):
  jaxpr = jax.make_jaxpr(lambda x: layers.constrain(x, *axes))(x)
  return str(jaxpr)


def test_constrain_is_nothing_without_a_mesh():
  x = jnp.zeros((4, 3))
  assert layers.constrain(x, 'batch') is x
  assert 'sharding_constraint' not in primitives(x, 'batch')


def test_constrain_lays_the_batch_over_data_and_fsdp():
  with jax.set_mesh(mesh(data=2, fsdp=2, tensor=1)):
    text = primitives(jnp.zeros((4, 3)), 'batch')
    assert 'sharding_constraint' in text
    assert "('data', 'fsdp')" in text
    assert 'sharding_constraint' not in primitives(jnp.zeros((4, 3)), None)


def test_constrain_is_nothing_on_axes_that_the_mesh_lacks():
  with jax.set_mesh(mesh(tensor=2)):
    x = jnp.zeros((4, 3))
    assert 'sharding_constraint' not in primitives(x, 'batch')


def test_constrain_is_nothing_on_axes_of_one_device():
  """Weights by head would else be whole wherever heads are not split."""
  with jax.set_mesh(mesh(data=2, fsdp=2, tensor=1)):
    x = jnp.zeros((4, 3, 2))
    assert 'sharding_constraint' not in primitives(x, 'whole', 'whole', 'heads')


def test_constrain_leaves_sizes_that_the_mesh_does_not_divide():
  abstract = jax.sharding.AbstractMesh(
    (2, 1), ('data', 'fsdp'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2)
  with jax.sharding.use_abstract_mesh(abstract):
    assert 'sharding_constraint' in primitives(jnp.zeros((4, 3)), 'batch')
    assert 'sharding_constraint' not in primitives(jnp.zeros((3, 3)), 'batch')
