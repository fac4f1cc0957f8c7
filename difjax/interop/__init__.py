"""Checkpoints of other projects, in our terms."""

from difjax.interop.base import Converted
from difjax.interop.container import read
from difjax.interop.feature_networks import Dinov2, Inception, Resnet
from difjax.interop.imported import FAMILIES, Imported, load

__all__ = [
  'FAMILIES',
  'Converted',
  'Dinov2',
  'Imported',
  'Inception',
  'Resnet',
  'load',
  'read',
]
