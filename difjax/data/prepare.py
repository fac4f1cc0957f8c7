"""Writes a folder of images as a tensorflow-datasets tree of array_record.

The result, `out/name/1.0.0/`, is read by `Tfds` and by tfds itself. Files
that need neither a crop nor another format are copied bit for bit.
"""

from __future__ import annotations

import io
import pathlib
import re
import shutil
import sys
from typing import Any

from difjax import errors
from difjax.data import folder, images

VERSION = '1.0.0'
SHARD = 4096  # examples in a shard
CHUNK = 256  # examples between two updates of the tree's metadata
NAME = re.compile(r'[a-z][a-z0-9_]*')
COPIED = frozenset({'.png', '.jpg', '.jpeg'})  # what every reader decodes


def prepare(
  source: folder.ImageFolder, out: str, name: str, split: str = 'train'
) -> pathlib.Path:
  """Writes all images of a source.

  Every image is decoded once, so that a damaged one is found here.

  Args:
    source: what is written; its `size` and `channels` are applied.
    out: folder of data sets, tfds's data_dir.
    name: the data set's name there: lower case, digits and underscores.
    split: name of its only split.

  Returns:
    The new folder out/name/1.0.0.

  Raises:
    DataError: if the name is unusable or taken, or an image unreadable.
  """
  import tqdm

  if not NAME.fullmatch(name) or not NAME.fullmatch(split):
    raise errors.DataError(
      f'name {name!r} and split {split!r} must be lower-case letters, digits '
      'and underscores, a letter first: set --name or --split'
    )
  final = pathlib.Path(out).expanduser() / name / VERSION
  if final.exists():
    raise errors.DataError(f'{final} exists: remove it or choose another name')
  partial = final.with_name(f'{VERSION}.partial')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  writer = _writer(source, partial, name)
  writer.initialize_splits([split])
  chunks = range(0, len(source), CHUNK)
  for start in tqdm.tqdm(chunks, unit='chunk', disable=not sys.stderr.isatty()):
    stop = min(start + CHUNK, len(source))
    examples = [_example(source, i) for i in range(start, stop)]
    writer.add_examples({split: examples})
  writer.close_all()
  return partial.rename(final)


def _example(source: folder.ImageFolder, i: int) -> dict[str, Any]:
  decoded, (name, data, _) = source[i], source.encoded(i)
  if source.size is not None or folder.suffix(name) not in COPIED:
    data = images.encode_png(decoded['image'])
  return {**decoded, 'image': io.BytesIO(data)}


def _writer(
  source: folder.ImageFolder, path: pathlib.Path, name: str
) -> Any:
  import tensorflow_datasets as tfds

  features = {'image': tfds.features.Image(shape=(None, None, source.channels))}
  if source.num_classes:
    names = source.class_names or map(str, range(source.num_classes))
    features['label'] = tfds.features.ClassLabel(names=list(names))
  identity = tfds.core.dataset_info.DatasetIdentity(
    name=name, version=VERSION, data_dir=str(path), module_name='difjax'
  )
  info = tfds.core.DatasetInfo(
    builder=identity, features=tfds.features.FeaturesDict(features)
  )
  return tfds.core.SequentialWriter(info, SHARD, file_format='array_record')
