"""Halving and doubling of [B, H, W, C]: what residual blocks resample with.

Average and nearest are the two-tap case of FIR resampling: up by repeating
each value in a 2 x 2 square, down by the mean of such a square.
"""

from __future__ import annotations

import jax.numpy as jnp

from difjax.typing import Array


def average_down(x: Array) -> Array:
  """Means of 2 x 2 squares: [B, H, W, C] to [B, H/2, W/2, C].

  Raises:
    ValueError: when a side is odd.
  """
  batch, height, width, channels = x.shape
  if height % 2 or width % 2:
    raise ValueError(
      f'average_down: size {(height, width)} is odd; resize or pad the data')
  squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return squares.mean(axis=(2, 4))


def nearest_up(x: Array) -> Array:
  """Repeats every value: [B, H, W, C] to [B, 2H, 2W, C]."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
