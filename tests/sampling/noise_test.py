"""Image i's noise depends on (seed, i) alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from difjax import sampling


def draw(seed, indices, step=0, slot=0, shape=(4, 4, 1)):
  keys = sampling.Keys(sampling.image_keys(seed, np.asarray(indices)))
  like = jnp.zeros((len(indices), *shape))
  return np.asarray(keys.at(step).normal(slot, like))


def test_draws_do_not_depend_on_the_batch():
  whole = draw(0, [0, 1, 2])
  np.testing.assert_array_equal(draw(0, [2, 2, 1]), whole[[2, 2, 1]])
  np.testing.assert_array_equal(draw(0, [2]), whole[[2]])


def test_draws_differ_by_seed_image_step_and_slot():
  first = draw(0, [7])
  for other in (
    draw(1, [7]), draw(0, [8]), draw(0, [7], step=1), draw(0, [7], slot=1),
  ):  # fmt: skip
    assert not np.any(first == other)
  assert not np.any(draw(0, [7], step=1) == draw(0, [7], slot=1))


def test_draws_are_normal_and_independent():
  z = draw(0, np.arange(500), shape=(40,))
  assert scipy.stats.kstest(z.ravel(), 'norm').pvalue > 1e-3
  # Correlations of images, and of an image's steps, are those of chance.
  assert abs(np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1]) < 5 / 141
  later = draw(0, np.arange(500), step=1, shape=(40,))
  assert abs(np.corrcoef(z.ravel(), later.ravel())[0, 1]) < 5 / 141


def test_draws_have_the_shape_and_type_of_x():
  keys = sampling.Keys(sampling.image_keys(0, np.arange(2)))
  like = jnp.zeros((2, 3), jnp.bfloat16)
  assert keys.normal(0, like).dtype == jnp.bfloat16
  assert keys.normal(0, like).shape == (2, 3)


def test_compiled_draws_are_the_same():
  keys = sampling.image_keys(0, np.arange(3))
  like = jnp.zeros((3, 5))
  compiled = jax.jit(lambda k, i: sampling.Keys(k).at(i).normal(1, like))
  np.testing.assert_array_equal(
    compiled(keys, 2), sampling.Keys(keys).at(2).normal(1, like)
  )


@pytest.mark.parametrize('index', [0, 50_000, 2**32 - 1])
def test_any_index_has_a_key(index):
  (ours,) = sampling.image_keys(3, np.asarray([index], np.uint32))
  theirs = jax.random.fold_in(jax.random.key(3), np.uint32(index))
  bits = jax.random.key_data
  np.testing.assert_array_equal(bits(ours), bits(theirs))


def test_recorded_draws_come_back():
  draws = np.arange(24.0).reshape(3, 2, 2, 2)
  noise = sampling.Recorded(draws)
  like = jnp.zeros((2, 2), jnp.float32)
  for step in range(3):
    for slot in range(2):
      got = noise.at(step).normal(slot, like)
      np.testing.assert_array_equal(got, draws[step, slot])
      assert got.dtype == jnp.float32
