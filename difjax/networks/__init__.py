"""Networks: Linen modules called as `net(x, noise, cond, train=False)`."""

from __future__ import annotations

from difjax.networks.attention import SelfAttention
from difjax.networks.dit import DiT
from difjax.networks.embeddings import Fourier, Positional, SigmaOfIndex
from difjax.networks.layers import GroupNorm
from difjax.networks.norms import InstanceNormPlus
from difjax.networks.refinenet import RefineNet
from difjax.networks.resample import FIRDown, FIRUp, average_down, nearest_up
from difjax.networks.unet import UNet
from difjax.networks.unet_blocks import (
  AttentionBlock,
  ConvDown,
  ConvUp,
  Resample,
  ResidualBlock,
)
from difjax.networks.wideresnet import WideResNet

__all__ = [
  'AttentionBlock',
  'ConvDown',
  'ConvUp',
  'DiT',
  'FIRDown',
  'FIRUp',
  'Fourier',
  'GroupNorm',
  'InstanceNormPlus',
  'Positional',
  'RefineNet',
  'Resample',
  'ResidualBlock',
  'SelfAttention',
  'SigmaOfIndex',
  'UNet',
  'WideResNet',
  'average_down',
  'nearest_up',
]
