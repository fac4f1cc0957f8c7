"""What is peculiar to FID's Inception, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.metrics import inception


def test_averages_leave_out_what_is_outside():
  x = jnp.arange(9.0).reshape(1, 3, 3, 1)
  expected = [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]
  np.testing.assert_allclose(inception._average(x)[0, :, :, 0], expected)


def test_maxima_are_those_of_linen():
  x = jax.random.normal(jax.random.key(0), (2, 9, 12, 3))
  np.testing.assert_array_equal(
    inception._maximum(x), nn.max_pool(x, (3, 3), (2, 2)))
  np.testing.assert_array_equal(
    inception._windows(x, jnp.maximum, -jnp.inf),
    nn.max_pool(x, (3, 3), padding='SAME'))


def test_parameters_and_shapes():
  net, images = inception.Inception(), jnp.zeros((2, 299, 299, 3))
  made = jax.eval_shape(net.init, jax.random.key(0), images)
  found = jax.eval_shape(net.apply, made, images)
  widths = [leaf.shape for leaf in found]
  assert widths == [(2, n) for n in (64, 192, 768, 2023, 2048, 1008, 1008)]
  # 21,785,568 of Inception-v3 without its head, of which each of the 17,216
  # channels of its norms has one parameter less, and the head of 1008.
  sizes = sum(leaf.size for leaf in jax.tree.leaves(made))
  assert sizes == 21_785_568 - 17_216 + 2048 * 1008 + 1008
