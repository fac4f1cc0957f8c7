"""The parts of which a U-Net is made.

Every part maps features h [B, H, W, C] under an embedding e [B, E] of noise
and label, and is made by one call that names its `Part` fields. The residual
block is that of DDPM (2006.11239), or with a resampling inside that of BigGAN
as in DDPM++ and NCSN++ (2011.13456), r being that resampling or nothing:

  a = conv(r(silu(norm(h)))) + Linear(silu(e))                            (1)
  out = (shortcut(r(h)) + conv(dropout(silu(norm(a))))) / d               (2)

with d = sqrt 2 where residuals are rescaled, else 1. The shortcut is a 1 x 1
convolution where channels change or the block resamples, else the identity.
The last convolution starts silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import attention, layers, resample
from difjax.typing import Array


class Part(nn.Module):
  """What the U-Net tells every part; a part ignores what it has no use for.

  Attributes:
    channels: of the output.
    norm: factory of the norms.
    dropout: rate inside residual blocks.
    skip_rescale: divide sums of a branch and its shortcut by sqrt 2.
    dtype: compute dtype.
  """

  channels: int
  norm: layers.Factory = layers.GroupNorm
  dropout: float = 0.0
  skip_rescale: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.nowrap
  def merge(self, shortcut: Array, branch: Array) -> Array:
    """Adds a branch to its shortcut as equation (2) has it."""
    total = shortcut + branch
    return total * math.sqrt(0.5) if self.skip_rescale else total


class ResidualBlock(Part):
  """Equations (1) and (2).

  Attributes:
    resampling: r, a function of features; None for none.
    shortcut_scale: initial scale of the 1 x 1 convolution.
  """

  resampling: Callable[[Array], Array] | None = None
  shortcut_scale: float = 1.0

  @nn.compact
  def __call__(self, x: Array, emb: Array, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, H', W', channels]."""
    conv = layers.conv
    h = nn.silu(self.norm(dtype=self.dtype, name='norm_0')(x))
    if self.resampling is not None:
      h, x = self.resampling(h), self.resampling(x)
    h = conv(self.channels, 3, dtype=self.dtype, name='conv_0')(h)
    shift = nn.Dense(
      self.channels, kernel_init=layers.fan_average(), dtype=self.dtype,
      name='emb')(nn.silu(emb))
    h = h + shift[:, None, None]
    h = nn.silu(self.norm(dtype=self.dtype, name='norm_1')(h))
    h = nn.Dropout(self.dropout, deterministic=not train)(h)
    h = conv(self.channels, 3, scale=0.0, dtype=self.dtype, name='conv_1')(h)
    if x.shape[-1] != self.channels or self.resampling is not None:
      x = conv(
        self.channels, 1, scale=self.shortcut_scale, dtype=self.dtype,
        name='shortcut')(x)
    return layers.constrain(self.merge(x, h), 'batch')


class AttentionBlock(Part):
  """Self-attention over all positions, behind a norm, with a shortcut.

  Attributes:
    heads: attention heads.
    implementation: of the attention: None, 'xla' or 'cudnn'.
  """

  heads: int = 1
  implementation: attention.Implementation = None

  @nn.compact
  def __call__(self, x: Array, emb: Array, train: bool) -> Array:
    """Maps [B, H, W, channels] to itself; `emb` and `train` are not used."""
    tokens = self.norm(dtype=self.dtype, name='norm')(x).reshape(
      x.shape[0], -1, x.shape[-1])
    # Three projections of scale 0.1 (score SDE), drawn as one of three times
    # the fan-out: twice the average fan, hence twice the scale.
    h = attention.SelfAttention(
      self.heads, qkv_init=layers.fan_average(0.2),
      out_init=layers.fan_average(0.0), implementation=self.implementation,
      dtype=self.dtype, name='attention')(tokens)
    return layers.constrain(self.merge(x, h.reshape(x.shape)), 'batch')


class ConvDown(Part):
  """A convolution of stride 2, padded on the right and at the bottom."""

  @nn.compact
  def __call__(self, x: Array, emb: Array, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, H/2, W/2, channels]."""
    return nn.Conv(
      self.channels, (3, 3), strides=2, padding=((0, 1), (0, 1)),
      kernel_init=layers.fan_average(), dtype=self.dtype, name='conv')(x)


class ConvUp(Part):
  """Nearest neighbours, then a convolution."""

  @nn.compact
  def __call__(self, x: Array, emb: Array, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, 2H, 2W, channels]."""
    return layers.conv(self.channels, 3, dtype=self.dtype, name='conv')(
      resample.nearest_up(x))
