"""The way down of a U-Net as a classifier of noisy images.

ADM's classifiers (2105.05233, appendix H) are the trunk of its U-Net and one
of four heads. With h the features after the middle, f the activation and
h_0, h_1, ... every output on the way down, means being over positions,

  average:    Linear(mean f(norm(h))),                                    (1)
  attention:  attention over (mean z, z) + positions with z = f(norm(h)),
              of which the first is the answer (CLIP, 2103.00020),        (2)
  spatial:    Linear(g(Linear(mean h_0, mean h_1, ..., mean h))),         (3)

g a ReLU, or f behind a norm.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import attention, layers, unet_trunk
from difjax.typing import Array, Cond


class Pool(nn.Module):
  """From the features of every depth to logits; in float32 or better.

  Attributes:
    num_classes: K.
    norm: factory of the norms.
    activation: f.
    init_scale: of the last layer, where the head starts silent.
  """

  num_classes: int
  norm: layers.Factory = layers.GroupNorm
  activation: Callable[[Array], Array] = nn.silu
  init_scale: float = 0.0

  @nn.nowrap
  def active(self, h: Array, name: str = 'norm') -> Array:
    """Returns f(norm(h))."""
    return self.activation(self.norm(dtype=h.dtype, name=name)(h))


class AveragePool(Pool):
  """Equation (1)."""

  @nn.compact
  def __call__(self, features: list[Array]) -> Array:
    """Maps a list of [B, H, W, C], the deepest last, to logits [B, K]."""
    pooled = self.active(features[-1]).mean((1, 2))
    return nn.Dense(
      self.num_classes, kernel_init=layers.fan_average(self.init_scale),
      name='out')(pooled)


class AttentionPool(Pool):
  """Equation (2).

  Attributes:
    head_channels: width of an attention head.
  """

  head_channels: int = 64

  @nn.compact
  def __call__(self, features: list[Array]) -> Array:
    """Maps a list of [B, H, W, C], the deepest last, to logits [B, K].

    Raises:
      ValueError: when heads do not divide the channels.
    """
    z = self.active(features[-1])
    batch, channels = z.shape[0], z.shape[-1]
    z = z.reshape(batch, -1, channels)
    z = jnp.concatenate([z.mean(1, keepdims=True), z], axis=1)
    positions = self.param(
      'positions', nn.initializers.normal(channels**-0.5), z.shape[1:])
    heads = attention.heads(channels, 1, self.head_channels)
    pool = attention.SelfAttention(
      heads, features=self.num_classes, dtype=None, name='attention')
    return pool(z + positions)[:, 0]


class SpatialPool(Pool):
  """Equation (3).

  Attributes:
    width: between the two layers.
    normed: g is f behind a norm, not a ReLU.
  """

  width: int = 2048
  normed: bool = False

  @nn.compact
  def __call__(self, features: list[Array]) -> Array:
    """Maps a list of [B, H, W, C] to logits [B, K]."""
    h = jnp.concatenate([each.mean((1, 2)) for each in features], axis=-1)
    h = nn.Dense(self.width, name='hidden')(h)
    h = self.active(h) if self.normed else nn.relu(h)
    return nn.Dense(self.num_classes, name='out')(h)


class UNetEncoder(unet_trunk.Trunk):
  """The classifier.

  Attributes:
    num_classes: K, of the answer.
    pool: factory of the head.
  """

  num_classes: int = 1000
  pool: layers.Factory = AttentionPool

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to logits [B, K], float32 or better.

    Args:
      x: the scaled input; in float64 all is computed in float64.
      noise: the official time input, used raw.
      cond: not used.
      train: dropout is on; needs the rng 'dropout'.

    Raises:
      ValueError: when the levels do not divide the size.
    """
    layers.check_halving(self, x.shape, len(self.multipliers) - 1)
    run = self._runner(self._code(self._read(noise, x.dtype)), train)
    features = self._encode(x, run)
    features.append(self._middle(features[-1], run))
    wide = jnp.promote_types(features[-1].dtype, jnp.float32)
    pool = self.pool(
      num_classes=self.num_classes, norm=self.norm, activation=self.activation,
      init_scale=self.init_scale, name='head')
    return pool([each.astype(wide) for each in features])
