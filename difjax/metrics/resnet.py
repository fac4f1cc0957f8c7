"""The residual networks of CIFAR-10 (He et al., 1512.03385, section 4.2).

Three groups of n blocks at 32, 16 and 8 pixels, of 16, 32 and 64 channels,
6 n + 2 layers in all: ResNet-20 and ResNet-56 for n = 3 and 9. Shortcuts have
no weights: where the size halves they take every second pixel and pad the
channels with zeros on both sides. Batch norms are part of the convolutions
before them, as in equation (1) of `metrics.inception`, with 1e-5.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.typing import Array

WIDTHS = (16, 32, 64)


class Activations(NamedTuple):
  """What the network gives of B images: pooled [B, 64], logits [B, 10]."""

  pooled: Array
  logits: Array


def _conv(x: Array, features: int, stride: int, name: str) -> Array:
  """A 3 x 3 convolution with one pixel of padding on each side."""
  return nn.Conv(
    features, (3, 3), strides=stride, padding=1, dtype=x.dtype,
    precision=jax.lax.Precision.HIGHEST, name=name)(x)


class Block(nn.Module):
  """Two convolutions beside the identity."""

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H / stride, W / stride, features]."""
    h = nn.relu(_conv(x, self.features, self.stride, 'conv1'))
    h = _conv(h, self.features, 1, 'conv2')
    spare = (self.features - x.shape[-1]) // 2
    kept = x[:, ::self.stride, ::self.stride]
    return nn.relu(h + jnp.pad(kept, ((0, 0),) * 3 + ((spare, spare),)))


class CifarResNet(nn.Module):
  """A classifier of `blocks` blocks a group; parameters by official name."""

  blocks: int = 9
  num_classes: int = 10

  @nn.compact
  def __call__(self, x: Array) -> Activations:
    """Maps x [B, 32, 32, 3], standardised by channel, to its activations."""
    h = nn.relu(_conv(x, WIDTHS[0], 1, 'conv1'))
    for i, width in enumerate(WIDTHS):
      for j in range(self.blocks):
        stride = 2 if i and not j else 1
        h = Block(width, stride, name=f'layer{i + 1}_{j}')(h)
    h = h.mean((1, 2))
    logits = nn.Dense(
      self.num_classes, dtype=h.dtype, precision=jax.lax.Precision.HIGHEST,
      name='linear')(h)
    return Activations(h, logits)
