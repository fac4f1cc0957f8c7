"""A set of samples on disk: blocks of images, each a file, and a manifest.

  DIR/blocks/manifest.json   the protocol, and in the end what was drawn
  DIR/blocks/000012.npz      arr_0 uint8 [B, H, W, C], arr_1 int64 labels [B]
                             where there are any, evaluations int32 [B]

Block b holds the images b B to (b + 1) B - 1 as far as they belong to the set:
an image's place in its block depends on its index alone. A file takes its name
when it is whole, so what is missing is what is left to do, whoever was killed
and however often. No process needs to know of another: several may fill one
set, and what two of them write alike is written twice and is the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import pathlib
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from difjax import config as configs
from difjax import errors
from difjax.evaluation import plots
from difjax.typing import Shape

FOLDER, MANIFEST = 'blocks', 'manifest.json'
SCHEME = 1  # of keys: raised when the same index gives another image
_POLL = 0.5  # seconds between two looks for the blocks of other processes


class Block(NamedTuple):
  """Images of one block that belong to the set.

  Attributes:
    indices: int [n].
    images: uint8 [n, H, W, C].
    labels: int64 [n], or None.
    evaluations: int32 [n], of networks.
  """

  indices: np.ndarray
  images: np.ndarray
  labels: np.ndarray | None
  evaluations: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleSet:
  """A folder of samples.

  Attributes:
    folder: what the user named; the blocks are below.
    shape: (H, W, C) of an image.
    num: how many images.
    first: the first one's index.
    size: images in a block, B.
    labelled: whether images have labels.
    class_names: in label order; may be empty.
    num_classes: 0 without labels.
    protocol: all that an image depends on, as JSON has it.
  """

  folder: pathlib.Path
  shape: Shape
  num: int
  first: int
  size: int
  labelled: bool
  class_names: tuple[str, ...]
  num_classes: int
  protocol: Mapping[str, Any]

  @property
  def blocks(self) -> range:
    """Numbers of the blocks."""
    end = self.first + self.num
    return range(self.first // self.size, -(-end // self.size))

  def whole(self, block: int) -> np.ndarray:
    """Returns the indices int [B] of a block, in the set or not."""
    return np.arange(block * self.size, (block + 1) * self.size)

  def inside(self, block: int) -> np.ndarray:
    """Returns which bool [B] of a block's images belong to the set."""
    indices = self.whole(block)
    return (indices >= self.first) & (indices < self.first + self.num)

  def begin(self) -> None:
    """Makes the folder, or finds it as it was left.

    Raises:
      ConfigError: it holds other files, or a set of another protocol.
    """
    file = self.folder / FOLDER / MANIFEST
    if file.exists():
      _check_same(file, configs.load(file).get('protocol'), self.protocol)
      return
    if self.folder.exists() and not self.folder.is_dir():
      raise errors.ConfigError(f'{self.folder} is a file: use another --out')
    known = [p.name for p in self.folder.glob('*')]
    if known not in ([], [FOLDER]):
      raise errors.ConfigError(
        f'{self.folder} is not empty and holds no samples of difjax: use '
        'another --out'
      )
    self._note({})

  def missing(self, part: int = 0, parts: int = 1) -> list[int]:
    """Lists the blocks that are not there yet.

    Args:
      part: which process asks: block b is of process b mod `parts`.
      parts: how many processes there are.
    """
    there = {path.name for path in self._place.glob('*.npz')}
    return [
      b for b in self.blocks
      if b % parts == part and _file_name(b) not in there
    ]  # fmt: skip

  def discard_torn(self, part: int = 0, parts: int = 1) -> None:
    """Removes blocks whose files a failing disk has cut short.

    Args:
      part: which process asks: it removes its own blocks.
      parts: how many processes there are.
    """
    missing = {*self.missing(part, parts)}
    mine = (b for b in self.blocks if b % parts == part)
    for block in (b for b in mine if b not in missing):
      file = self._place / _file_name(block)
      if not zipfile.is_zipfile(file):
        file.unlink(missing_ok=True)

  def write(self, block: int, found: Block) -> None:
    """Writes a block, whole or not at all."""
    arrays = {'arr_0': found.images, 'evaluations': found.evaluations}
    if found.labels is not None:
      arrays['arr_1'] = found.labels
    target = io.BytesIO()
    np.savez(target, **arrays)
    file = self._place / _file_name(block)
    try:
      plots.write(file, target.getvalue(), sync=True)
    except FileNotFoundError:  # another had the block before, and finished
      if not file.exists():
        raise

  def read(self, block: int) -> Block:
    """Reads a block.

    Raises:
      DataError: it is not there, damaged, or of another set.
    """
    file = self._place / _file_name(block)
    indices = self.whole(block)[self.inside(block)]
    try:
      with np.load(file, allow_pickle=False) as arrays:
        found = Block(
          indices,
          arrays['arr_0'],
          arrays['arr_1'] if self.labelled else None,
          arrays['evaluations'],
        )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as e:
      raise errors.DataError(
        f'{file} cannot be read ({e}): remove it, and the command that made '
        'it draws it again'
      ) from e
    images = found.images
    whole = (len(indices), *self.shape)
    if images.dtype != np.uint8 or images.shape != whole:
      raise errors.DataError(
        f'{file} holds {images.dtype} {images.shape}, not uint8 {whole}: '
        'remove it, and the command that made it draws it again'
      )
    return found

  def __iter__(self) -> Iterator[Block]:
    """Yields the blocks in the order of the indices."""
    return map(self.read, self.blocks)

  def wait(self) -> None:
    """Waits until no block is missing, whichever process has it."""
    while self.missing():
      time.sleep(_POLL)

  def finish(self) -> None:
    """Notes in the manifest what was drawn, once no block is missing.

    Digests of all pixels and labels, which do not follow from the size of a
    block, and evaluations. What killed processes left half-written goes, and
    what others still write of blocks that are there.
    """
    for partial in self._place.glob('.*.npz.*'):
      partial.unlink(missing_ok=True)
    images, labels = hashlib.sha256(), hashlib.sha256()
    evaluations = most = 0
    for block in self:
      images.update(np.ascontiguousarray(block.images))
      if block.labels is not None:
        labels.update(np.ascontiguousarray(block.labels))
      evaluations += int(block.evaluations.sum())
      most = max(most, int(block.evaluations.max()))
    self._note({
      'images_sha256': images.hexdigest(),
      'labels_sha256': labels.hexdigest() if self.labelled else None,
      'evaluations': {'mean': evaluations / self.num, 'most': most},
    })

  def finished(self) -> Mapping[str, Any] | None:
    """Returns what `finish` has noted of a set that is whole, else None.

    Raises:
      DataError: the manifest is malformed.
    """
    file = self._place / MANIFEST
    drawn = configs.load(file).get('drawn') or {}
    try:
      if drawn and not all((
        _is_text(drawn['images_sha256']),
        math.isfinite(drawn['evaluations']['mean']),
        _is_whole(drawn['evaluations']['most'], 0),
      )):  # fmt: skip
        raise ValueError('drawn')
    except (KeyError, TypeError, ValueError) as e:
      raise _no_manifest(file, e) from e
    return drawn or None

  @property
  def _place(self) -> pathlib.Path:
    return self.folder / FOLDER

  def _note(self, drawn: Mapping[str, Any]) -> None:
    about = {
      'shape': self.shape, 'num': self.num, 'first': self.first,
      'size': self.size, 'labelled': self.labelled,
      'class_names': self.class_names, 'num_classes': self.num_classes,
    }  # fmt: skip
    content = {'protocol': self.protocol, 'set': about, 'drawn': drawn}
    text = json.dumps(content, indent=1, sort_keys=True)
    plots.write(self._place / MANIFEST, text.encode(), sync=True)


def load(folder: pathlib.Path) -> SampleSet:
  """Opens a set that `difjax sample` made.

  Raises:
    ConfigError: the folder holds none.
    DataError: its manifest is malformed.
  """
  file = pathlib.Path(folder) / FOLDER / MANIFEST
  content = configs.load(file)
  try:
    about, protocol = dict(content['set']), dict(content['protocol'])
    _check_fields(about)
    for key in ('shape', 'class_names'):
      about[key] = tuple(about[key])
    return SampleSet(folder=pathlib.Path(folder), protocol=protocol, **about)
  except (KeyError, TypeError, ValueError) as e:
    raise _no_manifest(file, e) from e


def digest(*parts: Any) -> str:
  """Returns the sha256 of JSON values and arrays, in their order."""
  total = hashlib.sha256()
  for part in parts:
    if hasattr(part, 'dtype'):
      array = np.ascontiguousarray(part)
      total.update(f'{array.dtype} {array.shape}'.encode())
      total.update(array.view(np.uint8) if array.size else b'')
    else:
      total.update(json.dumps(part, sort_keys=True).encode())
  return total.hexdigest()


def _check_same(
  file: pathlib.Path, theirs: Any, ours: Mapping[str, Any]
) -> None:
  """Refuses a set of another protocol.

  Raises:
    ConfigError: it is of another, by the keys that differ.
  """
  if not isinstance(theirs, dict):
    raise errors.ConfigError(f'{file} has no protocol: use another --out')
  ours = json.loads(json.dumps(ours))
  changed = configs.differences(theirs, ours, 'protocol')
  if changed:
    raise errors.ConfigError(
      f'{file.parent.parent} holds samples of another protocol '
      f'({"; ".join(changed)}): use another --out'
    )


def _check_fields(about: Mapping[str, Any]) -> None:
  """Refuses what no set says of itself.

  Raises:
    KeyError, TypeError, ValueError: a field is left out, or off.
  """
  shape, names = about['shape'], about['class_names']
  sound = {
    'shape': len(shape) == 3 and all(_is_whole(side, 1) for side in shape),
    'num': _is_whole(about['num'], 1),
    'first': _is_whole(about['first'], 0),
    'size': _is_whole(about['size'], 1),
    'labelled': isinstance(about['labelled'], bool),
    'class_names': isinstance(names, list) and all(map(_is_text, names)),
    'num_classes': _is_whole(about['num_classes'], 0),
  }
  if not all(sound.values()):
    raise ValueError(', '.join(name for name in sound if not sound[name]))


def _is_whole(value: Any, least: int) -> bool:
  return type(value) is int and least <= value < 2**31  # True is an int


def _is_text(value: Any) -> bool:
  return isinstance(value, str)


def _no_manifest(file: pathlib.Path, error: Exception) -> errors.DataError:
  return errors.DataError(
    f'{file} is no manifest of samples ({error!r}): draw them again'
  )


def _file_name(block: int) -> str:
  return f'{block:06d}.npz'
