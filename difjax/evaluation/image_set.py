"""Images of any tool as one stream of bytes, in the order that it has them.

| path                                   | made by                             |
|----------------------------------------|-------------------------------------|
| DIR with blocks/manifest.json          | `difjax sample`: protocol and all   |
| DIR with samples_0.npz, ...            | score_sde: `samples` in each        |
| DIR with *.tar and their index         | webdataset, `difjax data index`     |
| DIR of PNG, WebP, JPEG or BMP files    | EDM, pytorch-fid                    |
| FILE.zip of such files                 | EDM, StyleGAN; perhaps dataset.json |
| FILE.npz                               | ADM: arr_0, arr_1; or `samples`     |

Files are sorted by name. Those of a folder or zip are taken from its top where
there are any, as pytorch-fid does, else from every depth; of the formats that
`difjax sample` writes beside each other one is taken. Nothing is unpacked to
disk and no file is read whole: a set may be larger than the memory. Every
reading takes the sha256 of all pixels, and refuses a set that is not what its
manifest or an earlier reading says. Of images in colour the grey ones become
RGB and alpha is left out, as every tool does; among grey ones, one in colour is
an error.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import pathlib
import re
import tarfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from difjax import errors
from difjax.data import folder as folders
from difjax.data import images, shards
from difjax.data import source as sources
from difjax.evaluation import npz_images, sample_set
from difjax.typing import Shape

_ROUNDS = 'samples_*.npz'
_ROUND = re.compile(r'samples_(\d+)')
# What `difjax sample` writes: a picture of some, and the same images thrice.
_GRID, _FORMATS = 'grid.png', ('png', 'webp', 'edm')
_THREADS = 8  # that decode
_READ = 256  # images at once where only their bytes are wanted


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
  """A set of uint8 images.

  Attributes:
    path: where they are.
    kind: what is there, such as 'folder of images'.
    shape: (H, W, C) of each.
    count: how many.
    parts: makes an iterator of images uint8 [n, H, W, C], n as it likes.
    protocol: how difjax drew them; None where it did not.
    known: their fingerprint, where it is noted beside them; a reading of the
      set holds them to it.
  """

  path: str
  kind: str
  shape: Shape
  count: int
  parts: Callable[[], Iterator[np.ndarray]]
  protocol: Mapping[str, Any] | None = None
  known: str | None = None

  def __len__(self) -> int:
    return self.count

  def batches(self, size: int) -> Iterator[np.ndarray]:
    """Gives all images uint8 [size, H, W, C]; the last batch may be shorter.

    Raises:
      DataError: a file is damaged, or of another size than the first; or the
        set has another number of images, or other pixels, than it says.
    """
    total, done = hashlib.sha256(), 0
    for batch in rebatched(self.parts(), size):
      total.update(np.ascontiguousarray(batch))
      done += len(batch)
      if done > self.count:
        break
      yield batch
    if done != self.count:
      raise errors.DataError(
        f'{self.path} says that it has {self.count} images and gives '
        f'{"more" if done > self.count else done}: make it again'
      )
    self._check(total.hexdigest())

  @functools.cached_property
  def fingerprint(self) -> str:
    """The sha256 of all pixels in their order, whatever files hold them."""
    if self.known is None:
      collections.deque(self.batches(_READ), maxlen=0)
    return self.known or vars(self)['fingerprint']

  def _check(self, digest: str) -> None:
    """Keeps the sha256 of a reading, or holds it to the one that is known.

    Raises:
      DataError: they differ.
    """
    known = self.known or vars(self).setdefault('fingerprint', digest)
    if digest != known:
      raise errors.DataError(
        f'{self.path} holds other images than it did (sha256 {digest[:8]}, not '
        f'{known[:8]}): a file was replaced or damaged; make it again'
      )


def read(path: str | pathlib.Path) -> ImageSet:
  """Opens a set of any kind in the table above.

  Raises:
    DataError: there is none, or it is malformed; the line names the file.
  """
  place = pathlib.Path(path)
  if not place.exists():
    raise errors.DataError(
      f'{place} is not there: give a folder, .zip or .npz of images'
    )
  if place.is_dir():
    return _directory(place)
  if place.suffix.lower() not in _FILES:
    raise errors.DataError(
      f'{place} is no folder, .zip or .npz: give one of images'
    )
  return _FILES[place.suffix.lower()](place)


def of_source(source: sources.Source, path: str = '') -> ImageSet:
  """Takes the examples of one of difjax's sources, in their order.

  Args:
    source: of uint8 images.
    path: what to call it; its class where that is left out.
  """
  starts = range(0, len(source), _READ)
  taken = lambda start: source.take(
    np.arange(start, min(start + _READ, len(source)))
  )
  return ImageSet(
    path=path or type(source).__name__, kind='source of difjax',
    shape=tuple(source.shape), count=len(source),
    parts=lambda: (taken(start)['image'] for start in starts),
  )  # fmt: skip


def rebatched(
  parts: Iterable[np.ndarray], size: int
) -> Iterator[np.ndarray]:
  """Yields the rows of arrays [n, ...] as arrays of `size` rows, but the last.

  What is computed from these does not follow from how the rows came.
  """
  pending: list[np.ndarray] = []
  count = 0
  for part in parts:
    while len(part):
      pending.append(part[: size - count])
      count += len(pending[-1])
      part = part[len(pending[-1]) :]
      if count == size:
        yield np.concatenate(pending)
        pending, count = [], 0
  if pending:
    yield np.concatenate(pending)


def of_array(pixels: np.ndarray) -> ImageSet:
  """Takes images uint8 [N, H, W, C] in memory."""
  return ImageSet(
    path='memory', kind='array', shape=pixels.shape[1:], count=len(pixels),
    parts=lambda: iter([pixels]),
  )  # fmt: skip


def _directory(place: pathlib.Path) -> ImageSet:
  """Opens what a folder holds."""
  if (place / sample_set.FOLDER / sample_set.MANIFEST).exists():
    return _drawn(place)
  rounds = sorted(place.glob(_ROUNDS), key=_number)
  if rounds:
    return _rounds(place, rounds)
  if any(place.glob('*.tar')):
    return _tars(place)
  return _files(place, 'folder of images')


def _number(path: pathlib.Path) -> tuple[int, str]:
  """Sorts samples_2 before samples_10."""
  digits = re.findall(r'\d+', path.stem)
  return int(digits[-1]) if digits else -1, path.name


def _drawn(place: pathlib.Path) -> ImageSet:
  """Opens a set of `difjax sample`."""
  found = sample_set.load(place)
  missing = found.missing()
  if missing:
    raise errors.DataError(
      f'{place} lacks {len(missing)} of {len(found.blocks)} blocks: run the '
      'command that made it again'
    )
  drawn = found.finished() or {}
  return ImageSet(
    path=str(place), kind='difjax sample', shape=tuple(found.shape),
    count=found.num, parts=lambda: (block.images for block in found),
    protocol={**found.protocol, 'evaluations': drawn.get('evaluations')},
    known=drawn.get('images_sha256'),
  )  # fmt: skip


def _files(place: pathlib.Path, kind: str) -> ImageSet:
  """Opens image files in a folder or zip."""
  source = folders.ImageFolder(path=str(place), labels=False)
  chosen = _chosen(source.names)
  name, data, _ = source.encoded(chosen[0])
  first = images.decode(data, name, 1 if _is_grey(data, name) else 3)
  return ImageSet(
    path=str(place), kind=kind, shape=first.shape, count=len(chosen),
    parts=lambda: _decoded(source, chosen, first.shape),
  )  # fmt: skip


def _chosen(names: Sequence[str]) -> list[int]:
  """Returns which of some sorted paths are the set, each image once."""
  parts = [name.partition('/') for name in names]
  roots = [root if below else '' for root, _, below in parts]
  at = lambda place: [
    i for i, root in enumerate(roots) if root == place and names[i] != _GRID
  ]
  below = {*roots} - {''}
  if at('') or not below:
    return at('') or [0]
  if below <= {*_FORMATS}:
    return at(min(below, key=_FORMATS.index))
  return [i for i, root in enumerate(roots) if root]


def _tars(place: pathlib.Path) -> ImageSet:
  """Opens indexed tars, as grey images where the first of them is grey."""
  found = of_source(shards.Shards(path=str(place)), str(place))
  if not _is_grey(*_first_of(min(place.glob('*.tar')))):
    return found
  return dataclasses.replace(
    found, shape=(*found.shape[:2], 1),
    parts=lambda: (_one_channel(part, place) for part in found.parts()),
  )  # fmt: skip


def _first_of(file: pathlib.Path) -> tuple[bytes, str]:
  """Reads the first image of a tar, and its name.

  Raises:
    DataError: there is none, or the tar is damaged.
  """
  try:
    with tarfile.open(file) as archive:
      for member in archive:
        if folders.suffix(member.name) in images.SUFFIXES and member.isfile():
          return archive.extractfile(member).read(), f'{file}/{member.name}'
  except (OSError, EOFError, tarfile.TarError) as error:
    raise errors.DataError(
      f'{file} cannot be read ({error}): fetch it again'
    ) from error
  raise errors.DataError(f'{file} has no images: remove it')


def _one_channel(pixels: np.ndarray, place: pathlib.Path) -> np.ndarray:
  """Returns grey images [n, H, W, 1] of their three channels.

  Raises:
    DataError: one is in colour.
  """
  if (pixels != pixels[..., :1]).any():
    raise errors.DataError(
      f'{place} has an image in colour and its first is grey: make them alike'
    )
  return pixels[..., :1]


def _is_grey(data: bytes, name: str) -> bool:
  """Says whether a file has no colours."""
  from PIL import Image

  images.decode(data, name, 1)  # names what is wrong with the file
  with Image.open(io.BytesIO(data)) as image:
    return image.mode in ('1', 'L')


def _decoded(
  source: folders.ImageFolder, chosen: Sequence[int], shape: Shape
) -> Iterator[np.ndarray]:
  """Yields the images of files, some at once.

  Raises:
    DataError: a file cannot be read, or its image is unlike the first.
  """

  def one(i: int) -> np.ndarray:
    name, data, _ = source.encoded(i)
    if shape[-1] == 1 and not _is_grey(data, name):
      raise errors.DataError(
        f'{name} is in colour and the first file is grey: make them alike'
      )
    image = images.decode(data, name, shape[-1])
    if image.shape != shape:
      raise errors.DataError(
        f'{name} is {image.shape[1]} x {image.shape[0]} pixels and the first '
        f'file {shape[1]} x {shape[0]}: bring them to one size'
      )
    return image

  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    for start in range(0, len(chosen), _READ):
      yield np.stack([*pool.map(one, chosen[start : start + _READ])])


def _rounds(place: pathlib.Path, files: list[pathlib.Path]) -> ImageSet:
  """Opens the files of score_sde's rounds."""
  numbers = [int(m[1]) for m in (_ROUND.fullmatch(f.stem) for f in files) if m]
  gap = next((i for i, n in enumerate(numbers) if n != i), None)
  if gap is not None:
    raise errors.DataError(f'{place} lacks samples_{gap}.npz: draw it again')
  heads = [npz_images.look(file) for file in files]
  for file, head in zip(files, heads, strict=True):
    if head.shape[1:] != heads[0].shape[1:]:
      raise errors.DataError(
        f'{file} holds images {head.shape[1:]} and {files[0].name} '
        f'{heads[0].shape[1:]}: bring them to one size'
      )
  return ImageSet(
    path=str(place), kind="score_sde's rounds", shape=heads[0].shape[1:],
    count=sum(head.shape[0] for head in heads),
    parts=lambda: (part for head in heads for part in head.parts()),
  )  # fmt: skip


def _npz(place: pathlib.Path) -> ImageSet:
  """Opens one .npz."""
  head = npz_images.look(place)
  return ImageSet(
    path=str(place), kind=f'.npz, {head.key}', shape=head.shape[1:],
    count=head.shape[0], parts=head.parts,
  )  # fmt: skip


_FILES = types.MappingProxyType({
  '.npz': _npz,
  '.zip': lambda place: _files(place, 'zip of images'),
})
