"""Checkpoints of other projects, in our terms."""

from difjax.interop.base import Converted
from difjax.interop.container import read
from difjax.interop.feature_networks import Inception, Resnet
from difjax.interop.imported import FAMILIES, Imported, load
from difjax.interop.resnet import ResNetFeatures

__all__ = [
  'FAMILIES',
  'Converted',
  'Imported',
  'Inception',
  'ResNetFeatures',
  'Resnet',
  'load',
  'read',
]
