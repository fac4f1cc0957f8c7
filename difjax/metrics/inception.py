"""Inception-v3 as Frechet Inception distances use it: the graph of 2015-12-05.

Every convolution of that network is followed by a batch norm with fixed
statistics. With scale g, shift b, mean m and variance v of a channel the two
are one convolution,

  y = relu((w g') * x + b - m g'),   g' = g / sqrt(v + 1e-3),             (1)

which is how parameters are kept here. It differs from Inception-v3 of today's
libraries: averages of 3 x 3 count the pixels inside the image alone, the last
block takes a maximum where the others average, and there are 1008 logits.

Where a block averages and then convolves with one tap, the two commute (each
average has weights of sum 1), so all branches of a block begin with one
product of the pixels and the joined kernels. Source: Szegedy et al.,
1512.00567; Heusel et al., 1706.08500.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.typing import Array

SIDE = 299  # of the images that the network reads
CLASSES = 1008
_SPATIAL = 7  # channels of the spatial features of sFID
_Widths = tuple[tuple[str, int], ...]


class Activations(NamedTuple):
  """What the network gives of B images.

  Attributes:
    first: [B, 64] means over the pixels after the first maximum.
    second: [B, 192] means after the second maximum.
    middle: [B, 768] means after the last block of 17 x 17 pixels.
    spatial: [B, 2023] the first seven channels of 17 x 17 pixels: sFID's.
    pool_3: [B, 2048] means of the last block: the features of FID.
    unbiased: [B, 1008] logits without their bias: of the Inception Score.
    logits: [B, 1008].
  """

  first: Array
  second: Array
  middle: Array
  spatial: Array
  pool_3: Array
  unbiased: Array
  logits: Array


class Weights(nn.Module):
  """The kernel [h, w, I, O] and bias [O] of a convolution (1)."""

  shape: tuple[int, int, int, int]

  @nn.compact
  def __call__(self, dtype: jax.typing.DTypeLike) -> tuple[Array, Array]:
    """Returns kernel and bias in a dtype."""
    init = nn.initializers.he_normal()
    kernel = self.param('kernel', init, self.shape)
    bias = self.param('bias', nn.initializers.zeros, self.shape[-1:])
    return kernel.astype(dtype), bias.astype(dtype)


def _conv(
  x: Array, name: str, features: int, size: tuple[int, int] = (3, 3),
  stride: int = 1, padding: str = 'SAME',
) -> Array:
  """Equation (1)."""
  shape = (*size, x.shape[-1], features)
  kernel, bias = Weights(shape, name=name)(x.dtype)
  y = jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  return nn.relu(y + bias)


def _products(x: Array, widths: _Widths) -> list[Array]:
  """Convolutions of one tap with names and widths, before their ReLU."""
  shape = lambda width: (1, 1, x.shape[-1], width)
  parts = [Weights(shape(n), name=name)(x.dtype) for name, n in widths]
  kernel = jnp.concatenate([kernel[0, 0] for kernel, _ in parts], -1)
  bias = jnp.concatenate([bias for _, bias in parts])
  ends = np.cumsum([n for _, n in widths])[:-1]
  return jnp.split(x @ kernel + bias, ends, axis=-1)


def _windows(
  x: Array, join: Callable[[Array, Array], Array], empty: float
) -> Array:
  """Joins the 3 x 3 pixels about each pixel; outside of the image is empty."""
  for axis in (1, 2):
    pad = [(0, 0)] * x.ndim
    pad[axis] = (1, 1)
    wide = jnp.pad(x, pad, constant_values=empty)
    size = x.shape[axis]
    low, here, high = (
      jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(3))
    x = join(join(low, here), high)
  return x


def _average(x: Array) -> Array:
  """Means of 3 x 3 pixels, of those inside the image."""
  counts = [np.full(n, 3.0) for n in x.shape[1:3]]
  for count in counts:
    count[[0, -1]] -= 1
  area = np.multiply.outer(*counts)[..., None]
  return _windows(x, jnp.add, 0) * jnp.asarray(1 / area, x.dtype)


def _maximum(x: Array) -> Array:
  """Maxima of 3 x 3 pixels, halving the size; inside the image alone."""
  for axis in (1, 2):
    size = (x.shape[axis] - 3) // 2 + 1
    low, here, high = (
      jax.lax.slice_in_dim(x, i, i + 2 * size - 1, 2, axis) for i in range(3))
    x = jnp.maximum(jnp.maximum(low, here), high)
  return x


class BlockA(nn.Module):
  """35 x 35 pixels: 1 x 1, 5 x 5, twice 3 x 3, average."""

  pooled: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, 35, 35, C] to [B, 35, 35, 224 + pooled]."""
    one, five, three, pool = _products(x, (
      ('branch1x1', 64), ('branch5x5_1', 48), ('branch3x3dbl_1', 64),
      ('branch_pool', self.pooled)))
    five = _conv(nn.relu(five), 'branch5x5_2', 64, (5, 5))
    three = _conv(nn.relu(three), 'branch3x3dbl_2', 96)
    three = _conv(three, 'branch3x3dbl_3', 96)
    return jnp.concatenate(
      [nn.relu(one), five, three, nn.relu(_average(pool))], -1)


class BlockB(nn.Module):
  """From 35 x 35 to 17 x 17 pixels: 3 x 3, twice 3 x 3, maximum."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, 35, 35, C] to [B, 17, 17, 480 + C]."""
    (double,) = _products(x, (('branch3x3dbl_1', 64),))
    double = _conv(nn.relu(double), 'branch3x3dbl_2', 96)
    return jnp.concatenate([
      _conv(x, 'branch3x3', 384, stride=2, padding='VALID'),
      _conv(double, 'branch3x3dbl_3', 96, stride=2, padding='VALID'),
      _maximum(x)], -1)


class BlockC(nn.Module):
  """17 x 17 pixels: 1 x 1, 7 x 7 and twice 7 x 7 in factors, average."""

  width: int

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    """Maps [B, 17, 17, C] to [B, 17, 17, 768], and to the branch 1 x 1."""
    n = self.width
    one, seven, double, pool = _products(x, (
      ('branch1x1', 192), ('branch7x7_1', n), ('branch7x7dbl_1', n),
      ('branch_pool', 192)))
    one = nn.relu(one)
    seven = _conv(nn.relu(seven), 'branch7x7_2', n, (1, 7))
    seven = _conv(seven, 'branch7x7_3', 192, (7, 1))
    double = _conv(nn.relu(double), 'branch7x7dbl_2', n, (7, 1))
    double = _conv(double, 'branch7x7dbl_3', n, (1, 7))
    double = _conv(double, 'branch7x7dbl_4', n, (7, 1))
    double = _conv(double, 'branch7x7dbl_5', 192, (1, 7))
    pool = nn.relu(_average(pool))
    return jnp.concatenate([one, seven, double, pool], -1), one


class BlockD(nn.Module):
  """From 17 x 17 to 8 x 8 pixels: 3 x 3, 7 x 7 in factors, maximum."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, 17, 17, C] to [B, 8, 8, 512 + C]."""
    three, seven = map(nn.relu, _products(
      x, (('branch3x3_1', 192), ('branch7x7x3_1', 192))))
    seven = _conv(seven, 'branch7x7x3_2', 192, (1, 7))
    seven = _conv(seven, 'branch7x7x3_3', 192, (7, 1))
    return jnp.concatenate([
      _conv(three, 'branch3x3_2', 320, stride=2, padding='VALID'),
      _conv(seven, 'branch7x7x3_4', 192, stride=2, padding='VALID'),
      _maximum(x)], -1)


class BlockE(nn.Module):
  """8 x 8 pixels: 1 x 1, split 3 x 3, twice 3 x 3 split, average or maximum."""

  maximum: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, 8, 8, C] to [B, 8, 8, 2048]."""
    widths = (('branch1x1', 320), ('branch3x3_1', 384), ('branch3x3dbl_1', 448))
    last = (('branch_pool', 192),)
    if self.maximum:
      one, three, double = _products(x, widths)
      (pool,) = _products(_windows(x, jnp.maximum, -jnp.inf), last)
    else:
      one, three, double, pool = _products(x, widths + last)
      pool = _average(pool)
    three = nn.relu(three)
    double = _conv(nn.relu(double), 'branch3x3dbl_2', 384)
    return jnp.concatenate([
      nn.relu(one),
      _conv(three, 'branch3x3_2a', 384, (1, 3)),
      _conv(three, 'branch3x3_2b', 384, (3, 1)),
      _conv(double, 'branch3x3dbl_3a', 384, (1, 3)),
      _conv(double, 'branch3x3dbl_3b', 384, (3, 1)),
      nn.relu(pool)], -1)


class Inception(nn.Module):
  """The network of FID; parameters are named as those of its PyTorch port."""

  @nn.compact
  def __call__(self, x: Array) -> Activations:
    """Maps x [B, 299, 299, 3], about [-1, 1], to what is read of it."""
    x = _conv(x, 'Conv2d_1a_3x3', 32, stride=2, padding='VALID')
    x = _conv(x, 'Conv2d_2a_3x3', 32, padding='VALID')
    first = _maximum(_conv(x, 'Conv2d_2b_3x3', 64))
    (x,) = _products(first, (('Conv2d_3b_1x1', 80),))
    x = _conv(nn.relu(x), 'Conv2d_4a_3x3', 192, padding='VALID')
    second = x = _maximum(x)
    for name, pooled in (('5b', 32), ('5c', 64), ('5d', 64)):
      x = BlockA(pooled, name=f'Mixed_{name}')(x)
    x = BlockB(name='Mixed_6a')(x)
    ones = []
    for name, width in (('6b', 128), ('6c', 160), ('6d', 160), ('6e', 192)):
      x, one = BlockC(width, name=f'Mixed_{name}')(x)
      ones.append(one)
    middle, spatial = x, ones[2][..., :_SPATIAL]
    x = BlockD(name='Mixed_7a')(x)
    x = BlockE(maximum=False, name='Mixed_7b')(x)
    pool = BlockE(maximum=True, name='Mixed_7c')(x).mean((1, 2))
    kernel, bias = Weights((1, 1, 2048, CLASSES), name='fc')(x.dtype)
    unbiased = pool @ kernel[0, 0]
    return Activations(
      *(h.mean((1, 2)) for h in (first, second, middle)),
      spatial=spatial.reshape(len(x), -1), pool_3=pool, unbiased=unbiased,
      logits=unbiased + bias)
