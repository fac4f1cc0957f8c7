"""The parts alone; the networks made of them are in unet_test."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import resample, unet_blocks

X = np.asarray(jax.random.normal(jax.random.key(0), (1, 4, 4, 2)))
CENTRE = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(jnp.eye(2))


def convolve(part, kernel, x=X):
  params = {'conv': {'kernel': kernel, 'bias': jnp.zeros(2)}}
  return part.apply({'params': params}, jnp.asarray(x), None, False)


@pytest.mark.parametrize('taps', [(1, 3, 3, 1), (1, 2, 1), (1, 1)])
def test_filtered_convolutions_with_a_lone_centre_only_resample(taps):
  for part, change in (
    (unet_blocks.ConvDown, resample.FIRDown),
    (unet_blocks.ConvUp, resample.FIRUp),
  ):
    y = convolve(part(channels=2, kernel=taps), CENTRE)
    np.testing.assert_allclose(y, change(kernel=taps)(X), atol=1e-6)


def test_filtered_convolution_sees_the_smoothed_image_beyond_the_edge():
  # One bright corner: smoothing leaks it outside, where the convolution with
  # its one weight at the upper left looks.
  corner = np.zeros((1, 4, 4, 2), np.float32)
  corner[0, 0, 0] = 1
  shifted = jnp.zeros((3, 3, 2, 2)).at[0, 0].set(jnp.eye(2))
  down = convolve(unet_blocks.ConvDown(channels=2, kernel=(1, 3, 3, 1)),
                  shifted, corner)
  np.testing.assert_allclose(down[0, 0, 0, 0], 9 / 64, atol=1e-7)
  up = convolve(unet_blocks.ConvUp(channels=2, kernel=(1, 3, 3, 1)),
                shifted, corner)
  np.testing.assert_allclose(up[0, 0, 0, 0], 4 / 64, atol=1e-7)


def test_two_equal_taps_before_a_convolution_are_nearest_neighbours():
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 2))
  plain = convolve(unet_blocks.ConvUp(channels=2), kernel)
  filtered = convolve(unet_blocks.ConvUp(channels=2, kernel=(1, 1)), kernel)
  np.testing.assert_allclose(plain, filtered, atol=1e-5)


def test_resample_is_its_function_and_has_no_parameters():
  part = unet_blocks.Resample(channels=9, resampling=resample.nearest_up)
  y, variables = part.init_with_output(
    jax.random.key(0), jnp.asarray(X), None, False)
  assert not variables
  np.testing.assert_array_equal(y, resample.nearest_up(X))


def test_block_without_embedding_has_no_shift():
  block = unet_blocks.ResidualBlock(channels=8)
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
  variables = block.init(jax.random.key(1), x, None, False)
  assert 'emb' not in variables['params']


def test_block_takes_another_activation():
  # Activations that give nothing leave the biases, which are zero, alone.
  block = unet_blocks.ResidualBlock(
    channels=8, activation=jnp.zeros_like, init_scale=1.0)
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
  y, _ = block.init_with_output(jax.random.key(1), x, jnp.ones((1, 4)), False)
  np.testing.assert_array_equal(y, x)


def test_attention_of_fitting_heads():
  """Heads of at least three channels: none of two, one of four, two of six."""
  make = lambda channels: unet_blocks.AttentionBlock(
    channels=channels, head_channels=3, fitting=True)
  for channels, heads in ((4, 1), (6, 2)):
    x = jax.random.normal(jax.random.key(1), (1, 2, 2, channels))
    params = make(channels).init(jax.random.key(0), x, None, False)
    same = unet_blocks.AttentionBlock(channels=channels, heads=heads)
    np.testing.assert_array_equal(
      make(channels).apply(params, x, None, False),
      same.apply(params, x, None, False))
  params = make(2).init(jax.random.key(0), X, None, False)
  assert not params
  np.testing.assert_array_equal(make(2).apply(params, X, None, False), X)
