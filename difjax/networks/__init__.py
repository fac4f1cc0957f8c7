"""Networks: Linen modules called as `net(x, noise, cond, train=False)`."""

from __future__ import annotations

from difjax.networks.attention import SelfAttention
from difjax.networks.dit import DiT
from difjax.networks.embeddings import Positional
from difjax.networks.layers import GroupNorm
from difjax.networks.resample import average_down, nearest_up
from difjax.networks.unet import UNet
from difjax.networks.unet_blocks import (
  AttentionBlock,
  ConvDown,
  ConvUp,
  ResidualBlock,
)

__all__ = [
  'AttentionBlock',
  'ConvDown',
  'ConvUp',
  'DiT',
  'GroupNorm',
  'Positional',
  'ResidualBlock',
  'SelfAttention',
  'UNet',
  'average_down',
  'nearest_up',
]
