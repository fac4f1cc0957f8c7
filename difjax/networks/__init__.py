"""Networks: Linen modules called as `net(x, noise, cond, train=False)`."""

from __future__ import annotations

from difjax.networks.attention import SelfAttention
from difjax.networks.costs import multiply_accumulates
from difjax.networks.dit import DiT
from difjax.networks.edm2 import MPUNet
from difjax.networks.edm2_layers import LogVariance, MPBlock, MPConv
from difjax.networks.embeddings import (
  Fourier,
  Positional,
  SigmaOfIndex,
  VectorCondition,
)
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
from difjax.networks.unet_encoder import (
  AttentionPool,
  AveragePool,
  SpatialPool,
  UNetEncoder,
)
from difjax.networks.uvit import UViT
from difjax.networks.wideresnet import WideResNet

__all__ = [
  'AttentionBlock',
  'AttentionPool',
  'AveragePool',
  'ConvDown',
  'ConvUp',
  'DiT',
  'FIRDown',
  'FIRUp',
  'Fourier',
  'GroupNorm',
  'InstanceNormPlus',
  'LogVariance',
  'MPBlock',
  'MPConv',
  'MPUNet',
  'Positional',
  'RefineNet',
  'Resample',
  'ResidualBlock',
  'SelfAttention',
  'SigmaOfIndex',
  'SpatialPool',
  'UNet',
  'UNetEncoder',
  'UViT',
  'VectorCondition',
  'WideResNet',
  'average_down',
  'multiply_accumulates',
  'nearest_up',
]
