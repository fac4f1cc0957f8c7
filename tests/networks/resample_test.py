from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from difjax.networks import resample

IMAGE = np.array([[1, 3, 0, 4], [5, 7, 8, 0]], np.float32)[None, :, :, None]
X = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)


def test_average_down_by_hand():
  y = resample.average_down(jnp.asarray(IMAGE))
  np.testing.assert_array_equal(y[0, :, :, 0], [[4, 3]])


def test_nearest_up_by_hand():
  y = resample.nearest_up(jnp.asarray(IMAGE[:, :, :2]))
  np.testing.assert_array_equal(
    y[0, :, :, 0], [[1, 1, 3, 3], [1, 1, 3, 3], [5, 5, 7, 7], [5, 5, 7, 7]])


def test_channels_and_samples_stay_apart():
  x = np.arange(2 * 4 * 2 * 3, dtype=np.float32).reshape(2, 4, 2, 3)
  y = resample.average_down(jnp.asarray(x))
  assert y.shape == (2, 2, 1, 3)
  np.testing.assert_array_equal(y[1, 1, 0], x[1, 2:, :].mean((0, 1)))
  up = resample.nearest_up(y)
  np.testing.assert_array_equal(up[1, 3, 1], y[1, 1, 0])
  np.testing.assert_array_equal(resample.average_down(up), y)


@pytest.mark.parametrize(
  'halve', [resample.average_down, resample.FIRDown()],
  ids=['average_down', 'FIRDown'])
def test_halving_names_an_odd_size(halve):
  with pytest.raises(ValueError, match=r'\(3, 4\) is odd'):
    halve(jnp.zeros((1, 3, 4, 1)))


def test_two_equal_taps_are_average_and_nearest():
  down, up = (r(kernel=(1, 1)) for r in (resample.FIRDown, resample.FIRUp))
  np.testing.assert_allclose(down(X), resample.average_down(X), atol=1e-6)
  np.testing.assert_allclose(up(X), resample.nearest_up(X), atol=1e-6)


def test_a_doubled_image_is_convolved_without_being_made():
  """Against SciPy on the repeated values, every tap and border."""
  kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 2))
  big = X.repeat(2, axis=1).repeat(2, axis=2)
  expected = [
    [
      sum(
        scipy.signal.correlate2d(big[n, ..., c], kernel[..., c, d], 'same')
        for c in range(3)
      )
      for d in range(2)
    ]
    for n in range(len(X))
  ]
  y = resample.conv_doubled(jnp.asarray(X), jnp.asarray(kernel, jnp.float32))
  np.testing.assert_allclose(
    y, np.moveaxis(expected, 1, -1), rtol=1e-4, atol=1e-5
  )


def line(values, kernel):
  """The whole convolution of a line with the taps: nothing is cut off."""
  return np.convolve(values, np.divide(kernel, np.sum(kernel)))


def along(function, x):
  return np.apply_along_axis(function, 2, np.apply_along_axis(function, 1, x))


@pytest.mark.parametrize(('kernel', 'first'), [
  ((1, 3, 3, 1), 1), ((1, 1), 0), ((1, 2, 1), 0), ((1, 2, 5, 1, 3), 1)])
def test_halving_is_convolution_then_every_second(kernel, first):
  # By upfirdn's padding of (K - 1) // 2 before: taps up to `first` look ahead.
  start = len(kernel) - 1 - (len(kernel) - 1) // 2
  assert first == start - 1
  expected = along(lambda v: line(v, kernel)[start:][:len(v)][::2], X)
  y = resample.FIRDown(kernel=kernel)(jnp.asarray(X))
  np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize('kernel', [
  (1, 3, 3, 1), (1, 1), (1, 2, 1), (1, 2, 5, 1, 3)])
def test_doubling_is_convolution_of_spread_values(kernel):
  start = len(kernel) - 1 - (len(kernel) - 1) // 2 - 1

  def double(v):
    spread = np.zeros(2 * len(v))
    spread[::2] = v
    return 2 * line(spread, kernel)[start:][:len(spread)]

  y = resample.FIRUp(kernel=kernel)(jnp.asarray(X))
  np.testing.assert_allclose(y, along(double, X), atol=1e-6)


def test_resampling_keeps_the_type_and_the_inside_of_a_constant():
  ones = jnp.ones((1, 8, 8, 1), jnp.bfloat16)
  for change in (resample.FIRDown(), resample.FIRUp()):
    y = change(ones)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y[:, 2:-2, 2:-2], 1)


@pytest.mark.parametrize('kernel', [(1, 3, 3, 1), (1, 2, 1), (1, 1)])
def test_margin_adds_what_a_larger_image_would_have(kernel):
  inside = np.pad(X, ((0, 0), (2, 2), (2, 2), (0, 0)))
  for up in (1, 2):
    wide = resample.fir(jnp.asarray(X), kernel, up=up, margin=1)
    whole = resample.fir(jnp.asarray(inside), kernel, up=up, margin=1)
    edge = 2 * up
    np.testing.assert_allclose(
      wide, whole[:, edge:-edge, edge:-edge], atol=1e-6)
