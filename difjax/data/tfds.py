"""Data sets that tensorflow-datasets has prepared, without TensorFlow.

A tree is `data_dir/name/version/` with dataset_info.json, features.json and
shards. Shards of array_record are read through tfds's own `as_data_source`;
shards of TFRecord through an index that `difjax data index` writes once.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import re
from typing import Any

from difjax import errors
from difjax.data import example, images, source, tfrecord

INFO = 'dataset_info.json'
FEATURES = 'features.json'
TFRECORD = 'tfrecord'  # tfds's name of the format
VERSION = re.compile(r'\d+\.\d+\.\d+')
CLASS_KEY = 'pythonClassName'
TRUSTED = 'tensorflow_datasets.'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tfds(images.Encoded):
  """A split of a prepared data set.

  Attributes:
    name: as tfds writes it, with its config where it has one:
      'cifar10', 'imagenet_resized/64x64'.
    split: name, or tfds's slices of one: 'train', 'train[:90%]'.
    data_dir: folder of prepared data sets; None is $TFDS_DATA_DIR, or
      ~/tensorflow_datasets.
    version: e.g. '3.0.2'; None is the newest one prepared.
    size: side of ADM's centre crop; None where all images have one size.
    channels: 1, 3 or 4.
    image_key: feature that holds the image.
    label_key: feature that holds the class; None reads no labels.
  """

  name: str
  split: str = 'train'
  data_dir: str | None = None
  version: str | None = None
  size: int | None = None
  channels: int = 3
  image_key: str = 'image'
  label_key: str | None = 'label'

  def __len__(self) -> int:
    return len(self._records)

  def encoded(self, i: int) -> tuple[str, bytes, int | None]:
    """Name, bytes and, where asked for, label of example `i`."""
    record = self._records[i]
    label = None if self.label_key is None else int(record[self.label_key])
    return f'{self.folder}:{self.split}[{i}]', record[self.image_key], label

  def fingerprint(self) -> str:
    """Digest of version, slices, shard sizes, and of how images are decoded."""
    shards = [
      (p.name, (self.folder / p.name).stat().st_size, p.start, p.stop)
      for p in self._pieces
    ]
    what = (self.name, self.folder.name, shards)
    how = (self.size, self.channels, self.image_key, self.label_key)
    return source.digest([what, how])

  @property
  def num_classes(self) -> int:
    """Number of classes that the label's feature states, or 0."""
    return getattr(self._feature, 'num_classes', None) or 0

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the classes, where the data set has them."""
    return tuple(getattr(self._feature, 'names', None) or ())

  @functools.cached_property
  def folder(self) -> pathlib.Path:
    """The folder data_dir/name/version.

    Raises:
      DataError: if it is not there; the message says how to make it.
    """
    default = os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
    root = pathlib.Path(self.data_dir or default).expanduser()
    found = [f.parent for f in (root / self.name).glob(f'*/{INFO}')]
    known = {f.name: f for f in found if VERSION.fullmatch(f.name)}
    newest = max(known, key=_numbers, default=None)
    folder = known.get(self.version or newest)
    if folder is None:
      version = self.version or '(any version)'
      raise errors.DataError(
        f'{root}/{self.name}/{version} is not prepared: run `tfds build '
        f'{self.name} --file_format=array_record --data_dir={root}` where '
        'TensorFlow is, or for images of your own `difjax data prepare '
        f'--source=FOLDER --out={root} --name={self.name}`'
      )
    return folder

  @functools.cached_property
  def _builder(self) -> Any:
    refuse_foreign_features(self.folder / FEATURES)
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder_from_directory(str(self.folder))
    # tfds passes on what json, protobuf and its features raise.
    except Exception as e:
      raise errors.DataError(
        f'{self.folder} is no data set that tfds can read '
        f'({type(e).__name__}): prepare it again'
      ) from e
    features = builder.info.features
    for key in filter(None, (self.image_key, self.label_key)):
      if key not in features:
        raise errors.DataError(
          f'{self.folder} has no feature {key!r}, it has '
          f'{", ".join(sorted(features))}: set image_key or label_key'
        )
    return builder

  @property
  def _feature(self) -> Any:
    """What tfds says of the label, or None without one."""
    return self.label_key and self._builder.info.features[self.label_key]

  @functools.cached_property
  def _pieces(self) -> tuple[tfrecord.Piece, ...]:
    splits = self._builder.info.splits
    try:
      instructions = splits[self.split].file_instructions
    except (KeyError, ValueError, AssertionError) as e:
      raise errors.DataError(
        f'{self.folder} has no split {self.split!r}, it has '
        f'{", ".join(sorted(splits))}'
      ) from e
    return tuple(
      tfrecord.Piece(
        name=pathlib.Path(part.filename).name,
        start=part.skip,
        stop=part.skip + part.take,
      )
      for part in instructions
    )

  @functools.cached_property
  def _records(self) -> Any:
    """Indexable records: dicts of an encoded image and a label."""
    pieces = self._pieces
    if self._builder.info.file_format.value == TFRECORD:
      return Examples(tfrecord.Records(folder=self.folder, pieces=pieces))
    import tensorflow_datasets as tfds

    skip = {self.image_key: tfds.decode.SkipDecoding()}
    return self._builder.as_data_source(self.split, decoders=skip)


class Examples:
  """Records of tf.train.Example as dicts of each feature's first value."""

  def __init__(self, records: tfrecord.Records):
    self._records = records

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, i: int) -> dict[str, bytes | int]:
    parsed = example.parse(self._records[i])
    return {key: values[0] for key, values in parsed.items() if values}


def refuse_foreign_features(path: pathlib.Path) -> None:
  """Checks a features.json before tfds imports the classes that it names.

  Raises:
    DataError: if it is absent, malformed or names a class outside of tfds.
  """
  classes = []
  collect = lambda pairs: classes.extend(v for k, v in pairs if k == CLASS_KEY)
  try:
    json.loads(path.read_bytes(), object_pairs_hook=collect)
  except (OSError, ValueError) as e:
    raise errors.DataError(f'{path} cannot be read: {e}') from e
  foreign = [c for c in classes if not str(c).startswith(TRUSTED)]
  if foreign:
    raise errors.DataError(
      f'{path} names the class {foreign[0]!r}, which is no part of tfds: its '
      'code is not run'
    )


def _numbers(version: str) -> tuple[int, ...]:
  return tuple(map(int, version.split('.')))
