from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import resample

IMAGE = np.array([[1, 3, 0, 4], [5, 7, 8, 0]], np.float32)[None, :, :, None]


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


def test_average_down_names_an_odd_size():
  with pytest.raises(ValueError, match=r'\(3, 4\).*odd'):
    resample.average_down(jnp.zeros((1, 3, 4, 1)))
