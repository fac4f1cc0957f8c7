"""One RefineNet for NCSN and the three sizes of NCSNv2.

Stages of two residual blocks go down; the first block of a stage halves the
size where its dilation is 1, and otherwise keeps it and dilates. From the
last stage to the first, a refinement joins a stage to what comes from below:

  refine(a, b) = units(pooling(fusion(units(a), units(b)))).              (1)

| network    | multipliers, dilations              | refine_multipliers |
|------------|-------------------------------------|--------------------|
| ncsnv2_64  | 1 2 2 2, 1 1 2 4                    | 1 2 2 2            |
| ncsnv2_128 | 1 2 2 4 4, 1 1 1 2 4                | 1 1 2 2 4          |
| ncsnv2_256 | 1 2 2 2 4 4, 1 1 1 1 2 4            | 1 1 2 2 2 4        |
| ncsn       | as ncsnv2_64, with `levels`         | 1 2 2 2            |

Those are score SDE's in JAX. The PyTorch code and ermongroup/ncsnv2 have
refine_multipliers 1 1 2 2 at 64, `align_corners` and `unbiased`. The output
for the noise level of index k, the largest first, is f(x, k) / sigma_k.

Sources: Song and Ermon 2019 and 2020; Lin et al. 2017.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.networks import embeddings, layers, norms, resample
from difjax.typing import Array, Cond


def _conv(
  x: Array, features: int, *, kernel: int = 3, dilation: int = 1,
  bias: bool = True, name: str
) -> Array:
  """Convolves x with PyTorch's first weights: U(-b, b), b = fan_in^-1/2."""
  bound = (kernel * kernel * x.shape[-1]) ** -0.5

  def uniform(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return nn.Conv(
    features, (kernel, kernel), kernel_dilation=dilation, use_bias=bias,
    kernel_init=uniform, bias_init=uniform, dtype=x.dtype, name=name)(x)


def _weights(size: int, out: int, align_corners: bool) -> np.ndarray:
  """What each of `out` points takes of `size` values, linearly: [out, size].

  With `align_corners` the first and last points lie on the first and last
  values; otherwise points and values are centres of equal cells.
  """
  place = np.arange(out) * ((size - 1) / max(out - 1, 1))
  if not align_corners:
    place = (np.arange(out) + 0.5) * (size / out) - 0.5
  place = place.clip(0, size - 1)
  return np.maximum(0, 1 - abs(place[:, None] - np.arange(size)))


def enlarge(
  x: Array, height: int, width: int, *, align_corners: bool
) -> Array:
  """Interpolates x [B, h, w, C] bilinearly to [B, height, width, C]."""
  if x.shape[1:3] == (height, width):
    return x
  rows = _weights(x.shape[1], height, align_corners).astype(x.dtype)
  columns = _weights(x.shape[2], width, align_corners).astype(x.dtype)
  return jnp.einsum(
    'bhwc,ih,jw->bijc', x, rows, columns, precision='highest')


class Residual(nn.Module):
  """Norm, ELU and convolution, twice, beside a shortcut.

  Attributes:
    channels: of the output.
    norm: factory of the norms.
    dilation: of the convolutions.
    down: the first block of a stage, which changes size or dilation.
  """

  channels: int
  norm: layers.Factory
  dilation: int = 1
  down: bool = False

  @nn.compact
  def __call__(self, x: Array, level: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', channels]."""
    conv = functools.partial(_conv, dilation=self.dilation)
    first = x.shape[-1] if self.down else self.channels
    h = nn.elu(self.norm(name='norm_0')(x, level))
    h = conv(h, first, name='conv_0')
    h = nn.elu(self.norm(name='norm_1')(h, level))
    h = conv(h, self.channels, name='conv_1')
    if self.down:
      kernel = 3 if self.dilation > 1 else 1
      x = conv(x, self.channels, kernel=kernel, name='shortcut')
      if self.dilation == 1:
        h, x = resample.average_down(h), resample.average_down(x)
    return layers.constrain(h + x, 'batch')


class Units(nn.Module):
  """Blocks of two activated convolutions, each beside its input (RCU).

  Attributes:
    blocks: how many.
    norm: factory of a norm before each activation; None for none.
  """

  blocks: int
  norm: layers.Factory | None

  @nn.compact
  def __call__(self, x: Array, level: Array) -> Array:
    """Maps [B, H, W, C] to itself."""
    for i in range(self.blocks):
      h = self._half(x, level, 2 * i)
      x = x + self._half(h, level, 2 * i + 1)
    return x

  @nn.nowrap
  def _half(self, h: Array, level: Array, i: int) -> Array:
    """Activates and convolves once, behind a norm if there are norms."""
    if self.norm is not None:
      h = self.norm(name=f'norm_{i}')(h, level)
    return _conv(nn.elu(h), h.shape[-1], bias=False, name=f'conv_{i}')


class Refine(nn.Module):
  """Equation (1).

  Attributes:
    channels: of the output.
    norm: factory of the norms inside; None for none, and then maxima in the
      pooling in place of means.
    blocks: of the units after the pooling.
    align_corners: of the interpolation.
  """

  channels: int
  norm: layers.Factory | None
  blocks: int = 1
  align_corners: bool = False

  @nn.compact
  def __call__(self, sources: list[Array], level: Array) -> Array:
    """Joins [B, h, w, c] of several sizes to [B, H, W, channels] of the first.

    A single source is not fused and has `channels` already.
    """
    hs = [Units(2, self.norm, name=f'source_{i}')(x, level)
          for i, x in enumerate(sources)]
    h = self._fuse(hs, level) if len(hs) > 1 else hs[0]
    h = self._pool(h, level)
    h = Units(self.blocks, self.norm, name='units')(h, level)
    return layers.constrain(h, 'batch')

  @nn.nowrap
  def _fuse(self, hs: list[Array], level: Array) -> Array:
    """The sum of convolutions of all, at the size of the first (MSF)."""
    height, width = hs[0].shape[1:3]
    parts = []
    for i, h in enumerate(hs):
      h = self._normalise(h, level, f'fusion_norm_{i}')
      h = _conv(h, self.channels, name=f'fusion_conv_{i}')
      parts.append(
        enlarge(h, height, width, align_corners=self.align_corners))
    return sum(parts)

  @nn.nowrap
  def _pool(self, h: Array, level: Array) -> Array:
    """Adds two links of a chain of 5 x 5 poolings and convolutions (CRP)."""
    pool = nn.max_pool if self.norm is None else nn.avg_pool
    h = path = nn.elu(h)
    for i in range(2):
      path = self._normalise(path, level, f'pooling_norm_{i}')
      path = pool(path, (5, 5), padding='SAME')
      path = _conv(
        path, self.channels, bias=False, name=f'pooling_conv_{i}')
      h = h + path
    return h

  @nn.nowrap
  def _normalise(self, h: Array, level: Array, name: str) -> Array:
    """Applies the norm of that name, if there are norms."""
    return h if self.norm is None else self.norm(name=name)(h, level)


class RefineNet(nn.Module):
  """The RefineNet; the defaults are ncsnv2_64 of score SDE for CIFAR-10.

  Attributes:
    channels: of the first stage.
    multipliers: channels of each stage over `channels`.
    dilations: of each stage; 1 halves the size, save in the first stage.
    refine_multipliers: channels out of each stage's refinement over
      `channels`; the last equals the last of `multipliers`.
    levels: noise levels for which norms have a row each; norms then stand in
      the refinements too, as in NCSN. 0 for norms that all levels share.
    sigma: from the noise input to the sigma that divides the output; None for
      an output that is not divided.
    unit_range: x is an image in [0, 1], taken to [-1, 1] first.
    align_corners: of the interpolation.
    unbiased: of the norms.
    dtype: compute dtype; None for that of x.
  """

  channels: int = 128
  multipliers: tuple[int, ...] = (1, 2, 2, 2)
  dilations: tuple[int, ...] = (1, 1, 2, 4)
  refine_multipliers: tuple[int, ...] = (1, 2, 2, 2)
  levels: int = 0
  sigma: Callable[[Array], Array] | None = embeddings.SigmaOfIndex(
    sigma_min=0.01, sigma_max=50.0, levels=232)
  unit_range: bool = False
  align_corners: bool = False
  unbiased: bool = False
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to its own shape, in float32 or better.

    Args:
      x: the scaled input; in float64 all is computed in float64.
      noise: the official time input, used raw: the index of the level, 0 for
        the largest sigma, rounded here.
      cond: not used.
      train: not used.

    Raises:
      ValueError: when stages do not halve the size.
    """
    level = jnp.round(noise).astype(jnp.int32)
    norm = functools.partial(
      norms.InstanceNormPlus, levels=self.levels, unbiased=self.unbiased)
    h = (2 * x - 1 if self.unit_range else x).astype(self.dtype or x.dtype)
    stages = self._encode(_conv(h, self.channels, name='stem'), norm, level)
    h = self._refine(stages, norm, level)
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    h = nn.elu(norm(name='head_norm')(h, level))
    h = _conv(h, x.shape[-1], name='head')
    if self.sigma is not None:
      h = h / self.sigma(level.astype(h.dtype))[:, None, None, None]
    return h

  @nn.nowrap
  def _encode(
    self, h: Array, norm: layers.Factory, level: Array
  ) -> list[Array]:
    """Goes down; gives the output of every stage."""
    stages = []
    for i, (multiplier, dilation) in enumerate(
        zip(self.multipliers, self.dilations, strict=True)):
      for j in range(2):
        h = Residual(
          multiplier * self.channels, norm, dilation,
          down=i > 0 and j == 0, name=f'stage_{i}_block_{j}')(h, level)
      stages.append(h)
    return stages

  @nn.nowrap
  def _refine(
    self, stages: list[Array], norm: layers.Factory, level: Array
  ) -> Array:
    """Comes back from the last stage to the first."""
    below = []
    for i in reversed(range(len(stages))):
      h = Refine(
        self.refine_multipliers[i] * self.channels,
        norm if self.levels else None, 1 if i else 3,
        self.align_corners, name=f'refine_{i}')([stages[i], *below], level)
      below = [h]
    return h
