"""TFRecord files of StyleGAN, one for each resolution, as score-SDE reads them.

A record is a tf.train.Example of two features: `shape`, int64 [3] in the order
C, H, W, and `data`, the raw bytes of the pixels. Files are named like
ffhq-r08.tfrecords (r08: 2^8 = 256 pixels a side); labels, where there are any,
are in one .npy file for all resolutions, ffhq-rxx.labels, as one-hot rows.

The zips of StyleGAN3 and EDM are read by `ImageFolder`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib

import numpy as np

from difjax import errors
from difjax.data import example, source, tfrecord
from difjax.typing import Array, Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN(source.Source):
  """Raw images from one TFRecord file; `difjax data index` must have run once.

  Attributes:
    path: the file, e.g. ffhq/ffhq-r08.tfrecords.
    labels: the file of labels; None reads none.
  """

  path: str
  labels: str | None = None

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, i: int) -> dict[str, Array]:
    image = self._image(i)
    if image.shape != self.shape:
      raise errors.DataError(
        f'{self.path}[{i}] has the shape {image.shape}, not {self.shape} as '
        'the first image: prepare one file for each resolution'
      )
    if self._labels is None:
      return {'image': image}
    return {'image': image, 'label': self._labels[i]}

  def fingerprint(self) -> str:
    """Digest of the file's size, its number of records, and the labels."""
    size = pathlib.Path(self.path).stat().st_size
    return source.digest([size, len(self), self._labels])

  @functools.cached_property
  def shape(self) -> Shape:
    """Shape (H, W, C) of the first image."""
    return self._image(0).shape

  @property
  def num_classes(self) -> int:
    """One more than the largest label, 0 without labels."""
    return 0 if self._labels is None else int(self._labels.max()) + 1

  def _image(self, i: int) -> Array:
    features = example.parse(self._records[i])
    shape, data = features.get('shape', ()), features.get('data', (b'',))[0]
    positive = len(shape) == 3 and min(shape) > 0
    if not positive or math.prod(shape) != len(data):
      raise errors.DataError(
        f'{self.path}[{i}] has the shape {list(shape)} and {len(data)} bytes '
        'of data, not [C, H, W] and as many: is it a file of StyleGAN?'
      )
    planes = np.frombuffer(data, np.uint8).reshape(shape)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))

  @functools.cached_property
  def _records(self) -> tfrecord.Records:
    path = pathlib.Path(self.path)
    if not path.is_file():
      raise errors.DataError(
        f'{path} is no file: give one such as ffhq-r08.tfrecords'
      )
    bounds = tfrecord.read_index(path.parent, [path.name])[path.name]
    if len(bounds) < 2:
      raise errors.DataError(f'{path} holds no images')
    piece = tfrecord.Piece(name=path.name, start=0, stop=len(bounds) - 1)
    return tfrecord.Records(folder=path.parent, pieces=(piece,))

  @functools.cached_property
  def _labels(self) -> Array | None:
    """Labels [N] int32, or None where none are asked for."""
    if self.labels is None:
      return None
    try:
      rows = np.load(self.labels, allow_pickle=False)
    except (OSError, EOFError, ValueError) as e:
      raise errors.DataError(
        f'{self.labels} cannot be read as .npy ({e})'
      ) from e
    one_hot = rows.ndim == 2 and set(np.unique(rows)) == {0, 1}
    if len(rows) != len(self) or not one_hot or (rows.sum(1) != 1).any():
      raise errors.DataError(
        f'{self.labels} is {rows.dtype} {list(rows.shape)}, not a one-hot row '
        f'for each of {len(self)} images: set labels=None to leave it out'
      )
    return rows.argmax(1).astype(np.int32)
