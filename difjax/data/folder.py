"""Image files in a folder or a zip, at any depth.

Classes come from `dataset.json` where there is one (the layout of StyleGAN
and EDM: {"labels": [["00000/img0.png", 6], ...]}), else they are the folders,
in sorted order, at the level where the paths first part: `dog/` and `cat/`,
whether or not a zip wraps them in one more folder. All files that it lists have
to be there, whether or not classes are read.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import os
import pathlib
import zipfile
import zlib
from typing import Any, Protocol

import numpy as np

from difjax import errors
from difjax.data import images, source
from difjax.typing import Array

LABEL_FILE = 'dataset.json'
_LARGEST = 2**30  # bytes of a member of a zip: no image has as many


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder(images.Encoded):
  """PNG, JPEG, WebP and BMP files, sorted by name.

  Attributes:
    path: folder or .zip file.
    size: side of ADM's centre crop; None where all files have one size.
    channels: 1, 3 or 4; grey and colour files are converted to it.
    labels: whether to read classes.
  """

  path: str
  size: int | None = None
  channels: int = 3
  labels: bool = True

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """Paths of the images inside the folder or zip, sorted."""
    names = tuple(sorted(filter(_is_image, self._store.sizes)))
    if not names:
      raise errors.DataError(
        f'{self.path} has no images: files must end in '
        f'{", ".join(sorted(images.SUFFIXES))}'
      )
    absent = sorted({*(self._listed or {})} - {*self._store.sizes})
    if absent:
      raise errors.DataError(
        f'{self.path}/{LABEL_FILE} lists {len(absent)} files that are not '
        f'there, such as {absent[0]}: fetch them, or leave them out of it'
      )
    return names

  def encoded(self, i: int) -> tuple[str, bytes, int | None]:
    """Name, bytes and, where known, label of example `i`."""
    name = self.names[i]
    label = None if self._labels is None else int(self._labels[i])
    return f'{self.path}/{name}', self._store.read(name), label

  def __len__(self) -> int:
    return len(self.names)

  def fingerprint(self) -> str:
    """Digest of names, file sizes and labels, and of how files are decoded."""
    sizes = [self._store.sizes[name] for name in self.names]
    how = (self.size, self.channels)
    return source.digest([self.names, sizes, self._labels, how])

  @property
  def num_classes(self) -> int:
    """One more than the largest label, 0 without labels."""
    return 0 if self._labels is None else int(self._labels.max()) + 1

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the sub-folders, empty under a dataset.json."""
    has_names = self._labels is not None and LABEL_FILE not in self._store.sizes
    return tuple(sorted(set(self._folders))) if has_names else ()

  @functools.cached_property
  def _store(self) -> Store:
    path = pathlib.Path(self.path)
    if not path.exists():
      raise errors.DataError(
        f'{path} does not exist: give a folder or a .zip of images'
      )
    return Folder(path=path) if path.is_dir() else Zip(path=path)

  @functools.cached_property
  def _folders(self) -> tuple[str, ...]:
    """Folder of each image where the paths part; '' for one that has none."""
    parents = [pathlib.PurePosixPath(name).parent for name in self.names]
    depth = len(pathlib.PurePosixPath(os.path.commonpath(parents)).parts)
    return tuple((*p.parts, '')[depth] for p in parents)

  @functools.cached_property
  def _labels(self) -> Array | None:
    """Labels [N] int32, or None where there are none."""
    if not self.labels:
      return None
    if self._listed is not None:
      where = f'{self.path}/{LABEL_FILE}'
      return _classes(self._listed, self.names, where)
    if LABEL_FILE in self._store.sizes or '' in self._folders:
      return None
    _, labels = np.unique(self._folders, return_inverse=True)
    return labels.astype(np.int32)

  @functools.cached_property
  def _listed(self) -> dict[str, Any] | None:
    """Classes by name in dataset.json; None where there are none."""
    if LABEL_FILE not in self._store.sizes:
      return None
    return _pairs(self._store.read(LABEL_FILE), f'{self.path}/{LABEL_FILE}')


class Store(Protocol):
  """Named files; `sizes` maps each name to its bytes' number."""

  sizes: dict[str, int]

  def read(self, name: str) -> bytes:
    """Content of a file."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
  """Files below a folder, links followed."""

  path: pathlib.Path

  @functools.cached_property
  def sizes(self) -> dict[str, int]:
    """Relative paths with '/' between their parts, and file sizes."""
    files = (
      pathlib.Path(parent, file)
      for parent, _, below in os.walk(self.path, followlinks=True)
      for file in below
    )
    root = self.path
    return {f.relative_to(root).as_posix(): f.stat().st_size for f in files}

  def read(self, name: str) -> bytes:
    """Content of a file."""
    try:
      return (self.path / name).read_bytes()
    except OSError as e:
      raise errors.DataError(f'{self.path}/{name} cannot be read: {e}') from e


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zip:
  """Members of a zip file, read in place and never extracted."""

  path: pathlib.Path

  @functools.cached_property
  def _file(self) -> zipfile.ZipFile:
    try:
      return zipfile.ZipFile(self.path)
    except (OSError, zipfile.BadZipFile) as e:
      raise errors.DataError(
        f'{self.path} is neither a folder nor a readable zip: {e}'
      ) from e

  @functools.cached_property
  def sizes(self) -> dict[str, int]:
    """Names and sizes of the members."""
    members = [m for m in self._file.infolist() if not m.is_dir()]
    for member in members:
      parts = pathlib.PurePosixPath(member.filename).parts
      if member.filename.startswith('/') or '..' in parts:
        raise errors.DataError(
          f'{self.path}: member {member.filename!r} points outside the zip: '
          'make the zip again with relative paths'
        )
    found = {member.filename: member.file_size for member in members}
    if len(found) < len(members):
      names = collections.Counter(member.filename for member in members)
      raise errors.DataError(
        f'{self.path}: {names.most_common(1)[0][0]!r} is there more than once: '
        'make the zip again with one member of each name'
      )
    return found

  def read(self, name: str) -> bytes:
    """Content of a member; a zip file's handle may be shared by threads."""
    if self.sizes[name] > _LARGEST:
      raise errors.DataError(
        f'{self.path}/{name} has {self.sizes[name]} bytes, as no image has: '
        'leave it out of the zip'
      )
    try:
      return self._file.read(name)
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as e:
      raise errors.DataError(
        f'{self.path}/{name} cannot be read ({e}): fetch the zip again'
      ) from e


def _pairs(data: bytes, where: str) -> dict[str, Any] | None:
  """Classes by name from the text of a dataset.json.

  Returns None where the file states `"labels": null`.

  Raises:
    DataError: the file is another.
  """
  try:
    pairs = json.loads(data)['labels']
    if pairs is None:
      return None
    return {name.replace('\\', '/'): label for name, label in pairs}
  except (
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
  ) as e:  # fmt: skip
    raise errors.DataError(
      f'{where} is broken ({e!r}): it must map "labels" to pairs [name, class] '
      'or null; fetch it again, or remove it'
    ) from e


def _classes(
  known: dict[str, Any], names: tuple[str, ...], where: str
) -> Array:
  """Labels [N] int32 of `names`.

  Raises:
    DataError: a label is missing, or is not a whole number from 0.
  """
  try:
    labels = np.array([known[name] for name in names])
  except (KeyError, ValueError) as e:
    raise errors.DataError(
      f'{where} does not label every image ({e!r}): set labels=False'
    ) from e
  if labels.ndim != 1 or labels.dtype.kind not in 'iu' or labels.min() < 0:
    raise errors.DataError(
      f'{where} has labels that are not classes 0, 1, ...: set labels=False'
    )
  return labels.astype(np.int32)


def suffix(name: str) -> str:
  """Ending of a file's name, in lower case with its dot."""
  return pathlib.PurePosixPath(name).suffix.lower()


def _is_image(name: str) -> bool:
  # macOS puts a hidden file '._a.png' beside a.png into its zips.
  hidden = name.rpartition('/')[-1].startswith('.')
  return suffix(name) in images.SUFFIXES and not hidden
