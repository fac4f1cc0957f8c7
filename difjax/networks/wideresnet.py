"""A WideResNet that classifies images at a given noise level.

Score SDE's classifier for guidance, 28-10 by default: three groups of blocks,
the second and third of which halve the size, behind a standardisation of
every image,

  x <- (x - mean x) / max(std x, N^-1/2),   N = H W C,                   (1)

and with a shift from the embedding of the noise level in every block. Sources:
Zagoruyko and Komodakis 2016; Song et al. 2021, appendix I.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.networks import embeddings, layers
from difjax.typing import Array, Cond


def _conv(x: Array, features: int, *, stride: int = 1, name: str) -> Array:
  """A 3 x 3 convolution without bias, He-normal over the fan-out."""
  return nn.Conv(
    features, (3, 3), strides=stride, use_bias=False, dtype=x.dtype, name=name,
    kernel_init=nn.initializers.variance_scaling(2.0, 'fan_out', 'normal'))(x)


def _activate(x: Array, name: str) -> Array:
  """Group norm and ReLU."""
  return nn.relu(layers.GroupNorm(epsilon=1e-5, dtype=x.dtype, name=name)(x))


def _widen(x: Array, stride: int, channels: int) -> Array:
  """Averages squares of side `stride` and appends channels of zeros.

  An input of `channels` already is left as it is.
  """
  if x.shape[-1] == channels:
    return x
  x = nn.avg_pool(x, (stride, stride), (stride, stride))
  return jnp.pad(x, ((0, 0),) * 3 + ((0, channels - x.shape[-1]),))


class Block(nn.Module):
  """Norm, ReLU and convolution, twice, beside a shortcut without weights.

  Attributes:
    channels: of the output.
    stride: of the first convolution.
    activate_first: the shortcut starts after the first norm and ReLU.
  """

  channels: int
  stride: int = 1
  activate_first: bool = False

  @nn.compact
  def __call__(self, x: Array, emb: Array) -> Array:
    """Maps [B, H, W, C] under emb [B, E] to [B, H', W', channels]."""
    h = _activate(x, 'norm_0')
    shortcut = h if self.activate_first else x
    h = _conv(h, self.channels, stride=self.stride, name='conv_0')
    shift = nn.Dense(self.channels, dtype=h.dtype, name='emb')(nn.silu(emb))
    h = _activate(h + shift[:, None, None], 'norm_1')
    h = _conv(h, self.channels, name='conv_1')
    shortcut = _widen(shortcut, self.stride, self.channels)
    return layers.constrain(h + shortcut, 'batch')


class WideResNet(nn.Module):
  """The noise-conditional classifier; the defaults are 28-10 for CIFAR-10.

  Attributes:
    num_classes: K.
    channels: of the stem.
    widening: channels of each group over `channels` times its multiplier.
    multipliers: one for each group.
    blocks_per_group: of two convolutions each.
    frequencies: of the Fourier code of the noise level; the embedding is four
      times as wide.
    fourier_scale: standard deviation of the frequencies.
    mean: subtracted from each channel of x.
    std: then divides each channel. The official code does both outside the
      network, with the statistics of CIFAR-10.
    dtype: compute dtype; None for that of x.
  """

  num_classes: int = 10
  channels: int = 16
  widening: int = 10
  multipliers: tuple[int, ...] = (1, 2, 4)
  blocks_per_group: int = 4
  frequencies: int = 128
  fourier_scale: float = 16.0
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to logits [B, K], float32 or better.

    Args:
      x: the scaled input; in float64 all is computed in float64.
      noise: the official time input, used raw: sigma.
      cond: not used.
      train: not used.
    """
    emb = self._embed(noise, x.dtype)
    h = _conv(self._standardise(x), self.channels, name='stem')
    for i, multiplier in enumerate(self.multipliers):
      channels = multiplier * self.widening * self.channels
      for j in range(self.blocks_per_group):
        h = Block(
          channels, stride=2 if i and not j else 1,
          activate_first=not i and not j, name=f'group_{i}_block_{j}')(h, emb)
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    h = _activate(h, 'head_norm').mean((1, 2))
    bound = self.num_classes**-0.5
    return nn.Dense(
      self.num_classes, dtype=h.dtype, name='head',
      kernel_init=lambda key, shape, dtype: jax.random.uniform(
        key, shape, dtype, -bound, bound))(h)

  @nn.nowrap
  def _standardise(self, x: Array) -> Array:
    """Equation (1), of x by channel; in the compute dtype."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    wide = (wide - np.array(self.mean, wide.dtype)) / np.array(
      self.std, wide.dtype)
    axes = (1, 2, 3)
    floor = math.prod(x.shape[1:]) ** -0.5
    wide = (wide - wide.mean(axes, keepdims=True)) / jnp.maximum(
      wide.std(axes, keepdims=True), floor)
    return wide.astype(self.dtype or x.dtype)

  @nn.nowrap
  def _embed(self, noise: Array, dtype: jax.typing.DTypeLike) -> Array:
    """The embedding [B, E] of the noise level, in float32 or better."""
    dtype = jnp.promote_types(jnp.promote_types(noise.dtype, dtype), 'float32')
    noise = noise.astype(dtype)
    code = embeddings.Fourier(
      self.frequencies, self.fourier_scale, name='encoding')(noise)
    return embeddings.NoiseMLP(
      4 * self.frequencies, nn.initializers.lecun_normal(), name='time')(code)
