"""Sources of examples, their order, and their way onto the devices."""

from difjax.data.cifar import CifarArchive
from difjax.data.device import (
  device_batches,
  place,
  to_bytes,
  to_unit_range,
)
from difjax.data.digits import Digits
from difjax.data.folder import ImageFolder
from difjax.data.idx import Idx
from difjax.data.lmdb import Lmdb
from difjax.data.mapped import Mapped
from difjax.data.npz import Npz
from difjax.data.order import Order, Windowed
from difjax.data.pipeline import Pipeline, sweep
from difjax.data.shards import Shards
from difjax.data.source import InMemory, Source, Subset, Wrapped
from difjax.data.stylegan import StyleGAN
from difjax.data.synthetic import Synthetic
from difjax.data.tfds import Tfds
from difjax.data.transforms import (
  CentreCrop,
  Crop,
  Flip,
  RandomCrop,
  Resize,
  ScaledCrop,
  Transform,
)

__all__ = [
  'CentreCrop',
  'CifarArchive',
  'Crop',
  'Digits',
  'Flip',
  'Idx',
  'ImageFolder',
  'InMemory',
  'Lmdb',
  'Mapped',
  'Npz',
  'Order',
  'Pipeline',
  'RandomCrop',
  'Resize',
  'ScaledCrop',
  'Shards',
  'Source',
  'StyleGAN',
  'Subset',
  'Synthetic',
  'Tfds',
  'Transform',
  'Windowed',
  'Wrapped',
  'device_batches',
  'place',
  'sweep',
  'to_bytes',
  'to_unit_range',
]
