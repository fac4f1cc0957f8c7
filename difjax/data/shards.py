"""Images in tar shards, as img2dataset and webdataset write them.

`difjax data index PATH` finds every sample once (`tar_index`); a sample is then
one ranged read, in whatever order and by whatever process. Text is left out of
the examples: a batch holds arrays alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import logging
import os
import pathlib
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import numpy as np

from difjax import errors
from difjax.data import images, source, tar_index
from difjax.typing import Array, Shape

OPEN = 256  # shards that are held open at once
TRIES, PAUSE = 4, 0.2  # readings of a file system that fails, seconds between
BLOCK = 64  # images that a thread decodes in one go
RUN = 100  # damaged samples in a row that are stepped over
_LOG = logging.getLogger(__name__)


class DamagedError(errors.DataError):
  """A sample that is there but cannot be used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shards(source.Source):
  """PNG, JPEG, WebP and BMP members of a folder's indexed tars.

  Attributes:
    path: folder of the *.tar files and their index.
    size: side of ADM's centre crop; None where all images have one size.
    channels: 1, 3 or 4; grey and colour images are converted to it.
    label: where a sample's class is: 'cls' for KEY.cls, 'json.FIELD' for a
      field of KEY.json; None leaves classes out.
    classes: how many there are; labels must be below.
    replace_damaged: whether the next sound sample stands in for one whose image
      or label cannot be used, so that the order of the others stays; otherwise
      it is an error. A file system that fails is an error in any case.
  """

  path: str
  size: int | None = None
  channels: int = 3
  label: str | None = None
  classes: int = 0
  replace_damaged: bool = False

  def __post_init__(self) -> None:
    kind, _, field = (self.label or 'cls').partition('.')
    if (kind, bool(field)) not in (('cls', False), ('json', True)):
      raise errors.ConfigError(
        f"label={self.label!r}: give 'cls', 'json.FIELD' or None"
      )
    if (self.label is None) != (self.classes == 0):
      raise errors.ConfigError(
        f'label={self.label!r} and classes={self.classes}: set both, '
        'or neither'
      )

  def __len__(self) -> int:
    return len(self._index)

  def __getitem__(self, i: int) -> dict[str, Array]:
    return self._sound(i, self._example)

  def fingerprint(self) -> str:
    """Digest of the shards' digests, and of how samples are decoded."""
    arrays = self._index.arrays
    known = [np.asarray(arrays[key]) for key in ('name', 'count', 'sha256')]
    how = (self.size, self.channels, self.label, self.classes)
    return source.digest([*known, how, self.replace_damaged])

  @property
  def shape(self) -> Shape:
    """Shape (H, W, C) of the images after the crop."""
    if self.size is not None:
      return self.size, self.size, self.channels
    return self._first[1]

  @property
  def num_classes(self) -> int:
    """As stated."""
    return self.classes

  @functools.cached_property
  def chunks(self) -> tuple[int, ...]:
    """Samples of each shard."""
    return tuple(self._index.arrays['count'].tolist())

  @functools.cached_property
  def stored_bytes(self) -> float:
    """Mean size of an image's file."""
    return float(np.mean(self._index.arrays['image_size']))

  @property
  def replaced(self) -> int:
    """Damaged samples that this process has met so far."""
    return len(self._damaged)

  def _sound(self, i: int, read: Callable[[int], Any]) -> Any:
    """What `read` makes of sample `i`, or of the next that is sound."""
    for k in range(min(RUN, len(self))):
      j = (i + k) % len(self)
      if j in self._damaged:
        continue
      try:
        return read(j)
      except DamagedError as e:
        if not self.replace_damaged:
          raise
        self._damaged[j] = str(e)
        count = len(self._damaged)
        if count & (count - 1) == 0:  # every one would flood a long run's log
          _LOG.warning('%s (damaged sample %d: the next replaces it)', e, count)
    raise errors.DataError(
      f'no sound sample in {RUN} from {self._damaged[i]}'
    )

  def undecodable(self, start: int) -> list[str]:
    """What is wrong with images `start` to `start` + BLOCK, one line each."""
    found = []
    for i in range(start, min(start + BLOCK, len(self))):
      try:
        self._image(i)
      except DamagedError as e:
        found.append(str(e))
    return found

  def _example(self, i: int) -> dict[str, Array]:
    image = self._image(i)
    if image.shape != self.shape:
      raise errors.DataError(
        f'{self._index.name(i)} is {image.shape[1]}x{image.shape[0]} but '
        f'{self._first[0]} is {self.shape[1]}x{self.shape[0]}: set size= to '
        'crop them to one size'
      )
    if self.label is None:
      return {'image': image}
    return {'image': image, 'label': np.int32(self._label(i))}

  def _image(self, i: int) -> Array:
    data = self._read(i, tar_index.IMAGE)
    try:
      return images.decode(
        data, self._index.name(i), self.channels, self.size
      )
    except errors.DataError as e:
      raise DamagedError(f'{e}, or set replace_damaged') from e

  def _label(self, i: int) -> int:
    kind, _, field = self.label.partition('.')
    text = self._read(i, kind)
    try:
      label = json.loads(text)[field] if field else int(text)
      if isinstance(label, bool) or not isinstance(label, int):
        raise ValueError(f'{label!r} is no whole number')
      if not 0 <= label < self.classes:
        raise ValueError(f'{label} is not below classes={self.classes}')
    except (ValueError, KeyError, TypeError, RecursionError) as e:
      raise DamagedError(
        f'{self._index.name(i)}: no class in its {self.label} ({e}); mend it, '
        'or set replace_damaged'
      ) from e
    return label

  def _read(self, i: int, kind: str) -> bytes:
    place = self._index.place(i, kind)
    if place is None:
      raise DamagedError(
        f'{self._index.name(i)} has no {kind}: add it, or set replace_damaged'
      )
    data = self._tried(i, *place)
    if len(data) < place[1]:
      raise errors.DataError(
        f'{self._index.name(i)} is cut off: '
        f'{tar_index.remedy(self._index.folder)}'
      )
    return data

  def _tried(self, i: int, offset: int, size: int) -> bytes:
    """Bytes of sample `i`'s shard, in a few tries where its disk fails."""
    for left in reversed(range(TRIES)):
      try:
        return self._opened(self._index.shard(i)).read(offset, size)
      except OSError as e:
        if not left:
          raise errors.DataError(
            f'{self._index.name(i)} cannot be read: {e}'
          ) from e
        time.sleep(PAUSE)
    raise AssertionError('the last try returns or raises')

  @functools.cached_property
  def _index(self) -> tar_index.Index:
    return tar_index.read(self.path)

  @functools.cached_property
  def _damaged(self) -> dict[int, str]:
    return {}

  @functools.cached_property
  def _opened(self) -> Callable[[int], OpenShard]:
    return functools.lru_cache(OPEN)(self._open)

  def _open(self, shard: int) -> OpenShard:
    opened = OpenShard(self._index.path(shard))
    if shard not in self._checked:  # it may mean to read all of it
      self._index.check(shard, os.fstat(opened.descriptor))
      self._checked.add(shard)
    return opened

  @functools.cached_property
  def _checked(self) -> set[int]:
    return set()

  @functools.cached_property
  def _first(self) -> tuple[str, Shape]:
    """Name and shape of the first sound image."""
    return self._sound(0, lambda i: (self._index.name(i), self._image(i).shape))


def undecodable(path: str, threads: int = 8) -> Iterator[str]:
  """Reads every image of a folder's tars; yields what is wrong with one.

  Raises:
    DataError: there is no index, or a shard has changed or cannot be read.
  """
  import tqdm

  source = Shards(path=path)
  starts = range(0, len(source), BLOCK)
  with futures.ThreadPoolExecutor(threads) as pool:
    blocks = pool.map(source.undecodable, starts)
    yield from itertools.chain.from_iterable(
      tqdm.tqdm(
        blocks, 'decode', total=len(starts), unit=f'x{BLOCK}',
        disable=not sys.stderr.isatty(),
      )
    )  # fmt: skip


class OpenShard:
  """A file from which threads read at once; closed when no one holds it."""

  def __init__(self, path: pathlib.Path) -> None:
    self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    weakref.finalize(self, os.close, self.descriptor)

  def read(self, offset: int, size: int) -> bytes:
    """Returns the bytes offset : offset + size, fewer past the end."""
    return os.pread(self.descriptor, size, offset)
