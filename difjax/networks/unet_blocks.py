"""The parts of which a U-Net is made.

Every part maps features h [B, H, W, C] under an embedding e [B, E] of noise
and label, and is made by one call that names its `Part` fields. The residual
block is that of DDPM (2006.11239), or with a resampling inside that of BigGAN
as in DDPM++ and NCSN++ (2011.13456). With the activation f and that resampling
or nothing as r,

  a = conv(r(f(norm(h)))) + Linear(f(e))                                  (1)
  out = (shortcut(r(h)) + conv(dropout(f(norm(a))))) / d                  (2)

with d = sqrt 2 where residuals are rescaled, else 1. The shortcut is a 1 x 1
convolution where channels change or the block resamples, else the identity.
The last convolution starts silent. A network without embedding has no Linear.
With scale and shift (ADM, 2105.05233) the embedding enters after the norm:

  (s, b) = Linear(f(e)),   norm(a) -> norm(conv(r(f(norm(h))))) (1 + s) + b. (3)
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
    activation: f, between layers.
    dropout: rate inside residual blocks.
    skip_rescale: divide sums of a branch and its shortcut by sqrt 2.
    init_scale: of the last layer of a branch; 0 starts it silent.
    dtype: compute dtype; None for that of features and parameters.
  """

  channels: int
  norm: layers.Factory = layers.GroupNorm
  activation: Callable[[Array], Array] = nn.silu
  dropout: float = 0.0
  skip_rescale: bool = False
  init_scale: float = 0.0
  dtype: jax.typing.DTypeLike | None = None

  @nn.nowrap
  def merge(self, shortcut: Array, branch: Array) -> Array:
    """Adds a branch to its shortcut as equation (2) has it."""
    return merge(shortcut, branch, self.skip_rescale)


def merge(shortcut: Array, branch: Array, rescale: bool) -> Array:
  """Adds two of equal variance; `rescale` keeps that variance."""
  total = shortcut + branch
  return total * math.sqrt(0.5) if rescale else total


class ResidualBlock(Part):
  """Equations (1) and (2), or (3) and (2).

  Attributes:
    resampling: r, a function of features; None for none.
    shortcut_scale: initial scale of the 1 x 1 convolution.
    bare_shortcut: a block that resamples has that convolution only where
      channels change, as others do.
    scale_shift: the embedding enters by (3).
  """

  resampling: Callable[[Array], Array] | None = None
  shortcut_scale: float = 1.0
  bare_shortcut: bool = False
  scale_shift: bool = False

  @nn.compact
  def __call__(self, x: Array, emb: Array | None, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, H', W', channels]."""
    conv, act = layers.conv, self.activation
    h = act(self.norm(dtype=self.dtype, name='norm_0')(x))
    if self.resampling is not None:
      h, x = self.resampling(h), self.resampling(x)
    h = conv(self.channels, 3, dtype=self.dtype, name='conv_0')(h)
    h = act(self._conditioned(h, emb))
    h = nn.Dropout(self.dropout, deterministic=not train)(h)
    h = conv(
      self.channels, 3, scale=self.init_scale, dtype=self.dtype,
      name='conv_1')(h)
    resamples = self.resampling is not None and not self.bare_shortcut
    if x.shape[-1] != self.channels or resamples:
      x = conv(
        self.channels, 1, scale=self.shortcut_scale, dtype=self.dtype,
        name='shortcut')(x)
    return layers.constrain(self.merge(x, h), 'batch')

  @nn.nowrap
  def _conditioned(self, h: Array, emb: Array | None) -> Array:
    """The second norm, and the embedding before it (1) or after (3)."""
    norm = self.norm(dtype=self.dtype, name='norm_1')
    if emb is None:
      return norm(h)
    change = nn.Dense(
      (1 + self.scale_shift) * self.channels,
      kernel_init=layers.fan_average(), dtype=self.dtype, name='emb')(
        self.activation(emb))[:, None, None]
    if not self.scale_shift:
      return norm(h + change)
    scale, shift = jnp.split(change, 2, axis=-1)
    return norm(h) * (1 + scale) + shift


class AttentionBlock(Part):
  """Self-attention over all positions, behind a norm, with a shortcut.

  Attributes:
    heads: attention heads.
    head_channels: width of a head, in place of their number.
    fitting: that is the least width; where not even one head fits, there is
      no attention.
    implementation: of the attention: None, 'xla' or 'cudnn'.
  """

  heads: int = 1
  head_channels: int | None = None
  fitting: bool = False
  implementation: attention.Implementation = None

  @nn.compact
  def __call__(self, x: Array, emb: Array | None, train: bool) -> Array:
    """Maps [B, H, W, channels] to itself; `emb` and `train` are not used.

    Raises:
      ValueError: when heads do not divide the channels.
    """
    heads = self._heads(x.shape[-1])
    if not heads:
      return x
    tokens = self.norm(dtype=self.dtype, name='norm')(x).reshape(
      x.shape[0], -1, x.shape[-1])
    # Three projections of scale 0.1 (score SDE), drawn as one of three times
    # the fan-out: twice the average fan, hence twice the scale.
    h = attention.SelfAttention(
      heads, qkv_init=layers.fan_average(0.2),
      out_init=layers.fan_average(self.init_scale),
      implementation=self.implementation, dtype=self.dtype,
      name='attention')(tokens)
    return layers.constrain(self.merge(x, h.reshape(x.shape)), 'batch')

  @nn.nowrap
  def _heads(self, channels: int) -> int:
    """How many heads there are."""
    if self.fitting and self.head_channels:
      return channels // self.head_channels
    return attention.heads(channels, self.heads, self.head_channels)


class ConvDown(Part):
  """A convolution of stride 2, with or without a low-pass before it.

  Attributes:
    kernel: taps of the low-pass; without any the convolution is padded on the
      right and at the bottom.
    centred: it is then padded on all sides, as ADM does.
  """

  kernel: tuple[float, ...] = ()
  centred: bool = False

  @nn.compact
  def __call__(
    self, x: Array, emb: Array | None = None, train: bool = False
  ) -> Array:
    """Maps [B, H, W, C] to [B, H/2, W/2, channels]."""
    padding = ((int(self.centred), 1),) * 2
    if self.kernel:
      x, padding = resample.fir(x, self.kernel, margin=1), ((0, 0), (0, 0))
    return nn.Conv(
      self.channels, (3, 3), strides=2, padding=padding,
      kernel_init=layers.fan_average(), dtype=self.dtype, name='conv')(x)


class ConvUp(Part):
  """Doubling, then a convolution.

  Attributes:
    kernel: taps of the filter that doubles; without any, nearest neighbours.
  """

  kernel: tuple[float, ...] = ()

  @nn.compact
  def __call__(
    self, x: Array, emb: Array | None = None, train: bool = False
  ) -> Array:
    """Maps [B, H, W, C] to [B, 2H, 2W, channels]."""
    if not self.kernel:
      return nn.Conv(
        self.channels, (3, 3), kernel_init=layers.fan_average(),
        conv_general_dilated=resample.conv_doubled, dtype=self.dtype,
        name='conv')(x)
    return nn.Conv(
      self.channels, (3, 3), padding='VALID',
      kernel_init=layers.fan_average(), dtype=self.dtype, name='conv')(
        resample.fir(x, self.kernel, up=2, margin=1))


class Resample(Part):
  """Halving or doubling without parameters; channels stay.

  Attributes:
    resampling: a function of features.
  """

  resampling: Callable[[Array], Array] = resample.average_down

  def __call__(self, x: Array, emb: Array | None, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, H', W', C]."""
    return self.resampling(x)
