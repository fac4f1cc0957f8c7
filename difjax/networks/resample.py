"""Halving and doubling of [B, H, W, C]: what residual blocks resample with.

With a separable FIR kernel of taps k_0 ... k_{K-1} of sum 1, convolution being
true convolution and x zero outside the image,

  down:  y = (k k^T * x)[::2, ::2],                                       (1)
  up:    y = 4 k k^T * (x with a zero after every value).                 (2)

Average and nearest are the case [1, 1]: down by the mean of a 2 x 2 square, up
by repeating each value in one. A convolution w of 3 x 3 that resamples too is
w * (2) or (w * (k k^T * x))[::2, ::2]; the filter then keeps a margin of one
more value a side for w, so that nothing is cut off between the two. Where each
value is repeated, two of three taps of w meet the same value on every axis, and
their sums are enough: at the output 2i + p, along an axis,

  w * (2) = sum_{a = 0, 1} v_p[a] x[i + a + p - 1],                       (3)
  v_0 = (w_0, w_1 + w_2),  v_1 = (w_0 + w_1, w_2),

four products in place of nine, without the doubled image. Source of (1), (2):
Karras et al. 2020 (StyleGAN2), as used by Song et al. 2021 (2011.13456).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from difjax.typing import Array


def average_down(x: Array) -> Array:
  """Means of 2 x 2 squares: [B, H, W, C] to [B, H/2, W/2, C].

  Raises:
    ValueError: when a side is odd.
  """
  batch, height, width, channels = x.shape
  _check_even(x, 'average_down')
  squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return squares.mean(axis=(2, 4))


def nearest_up(x: Array) -> Array:
  """Repeats every value: [B, H, W, C] to [B, 2H, 2W, C]."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def conv_doubled(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
  """Convolves a doubled image, by (3); nothing beside it is padded but zeros.

  Args:
    x: [B, H, W, C], not yet doubled.
    kernel: w [3, 3, C, D].
    *_: what `nn.Conv` says of strides and padding: they are 1 and 'SAME'.
    **__: the same of dilation.

  Returns:
    [B, 2H, 2W, D].
  """
  batch, height, width, _ = x.shape
  kernels = [_taps(rows, axis=1) for rows in _taps(kernel, axis=0)]
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

  def phase(p: int, q: int) -> Array:
    return jax.lax.conv_general_dilated(
      x[:, p : p + height + 1, q : q + width + 1], kernels[p][q], (1, 1),
      'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

  phases = [[phase(p, q) for q in (0, 1)] for p in (0, 1)]
  y = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
  return y.reshape(batch, 2 * height, 2 * width, -1)


def _taps(kernel: Array, axis: int) -> tuple[Array, Array]:
  """v_0 and v_1 of (3) along an axis of three taps."""
  first, middle, last = jnp.split(kernel, 3, axis)
  return (
    jnp.concatenate([first, middle + last], axis),
    jnp.concatenate([first + middle, last], axis),
  )


def fir(
  x: Array, kernel: tuple[float, ...], *, up: int = 1, down: int = 1,
  margin: int = 0
) -> Array:
  """Filters [B, H, W, C] while it resamples.

  Args:
    x: the features.
    kernel: the taps; their sum does not matter.
    up: zeros are put between values until there are this many times as many.
    down: every that-many-th value is kept.
    margin: values that are added to the result on each side.

  Returns:
    [B, (up H + 2 margin) / down, the same of W, C]; with margin and neither
    up nor down one less, for a filter of even length has no centre.
  """
  count, total = len(kernel), sum(kernel)
  before = (count - 1) // 2 + margin + up - 1
  after = (count - 2) // 2 + margin + up - 1
  # One axis after the other as sums of slices: XLA fuses these, while its
  # depthwise convolutions are 10 to 50 times slower on a CPU.
  for axis in (1, 2):
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (before, after, up - 1)
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), padding)
    end = (x.shape[axis] - count) // down * down + 1
    x = sum(
      up * tap / total * jax.lax.slice_in_dim(x, i, i + end, down, axis)
      for i, tap in enumerate(reversed(kernel)))
  return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class FIRDown:
  """Equation (1).

  Attributes:
    kernel: the taps.
  """

  kernel: tuple[float, ...] = (1, 3, 3, 1)

  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H/2, W/2, C].

    Raises:
      ValueError: when a side is odd.
    """
    _check_even(x, 'FIRDown')
    return fir(x, self.kernel, down=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FIRUp:
  """Equation (2).

  Attributes:
    kernel: the taps.
  """

  kernel: tuple[float, ...] = (1, 3, 3, 1)

  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, 2H, 2W, C]."""
    return fir(x, self.kernel, up=2)


def _check_even(x: Array, name: str) -> None:
  if x.shape[1] % 2 or x.shape[2] % 2:
    raise ValueError(
      f'{name}: size {x.shape[1:3]} is odd; resize or pad the data')
