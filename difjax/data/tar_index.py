"""The index that makes a folder of tar shards random access.

Shards are what img2dataset and webdataset write: files of one sample follow
each other and share a key, the path up to its first dot,

  00000/000000012.jpg  00000/000000012.txt  00000/000000012.json          (1)

The index, one file beside them, holds of every shard its name, count of
samples, size, time of change and sha256, and of every sample its key and where
its image, caption (txt), description (json) and class (cls) lie. It is a plain
.npz, uncompressed: mapped into memory instead of being read, and, being one
file, replaced whole or not at all, which a folder of .npy files could not be.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import re
import sys
import zipfile
from collections.abc import Mapping
from concurrent import futures

import numpy as np

from difjax import errors
from difjax.data import images, tar, tfrecord
from difjax.typing import Array

INDEX = 'difjax_tars.npz'
KINDS = (IMAGE := 'image', 'txt', 'json', 'cls')  # of files in a sample
LISTED = 1000  # damages that are kept by name
LARGEST = 2**32 - 1  # bytes of a member
PACKED = re.compile(r'.*\.(tar\.(gz|bz2|xz|zst)|tgz)')
KEY = re.compile(r'((?:.*/)?[^/.]+)\.([^/]+)')
LOCAL_HEADER = 30  # bytes of a zip member's header before its name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """What a scan finds in a tar.

  Attributes:
    name: of the file.
    size: in bytes.
    changed: when, in nanoseconds.
    sha256: 32 bytes.
    keys: of its n samples.
    places: int64 [n, KINDS, 2], offset and size of each file, 0 for none.
    damages: what is wrong, one line each.
  """

  name: str
  size: int
  changed: int
  sha256: bytes
  keys: tuple[bytes, ...]
  places: Array
  damages: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
  """Where every sample of a folder's shards lies.

  Attributes:
    folder: that of the shards, absolute.
    arrays: over S shards name, count, size, changed, sha256 [S, 32]; over N
      samples key_end, the bytes of all keys, and for each kind of file KIND_at
      and KIND_size, 0 where a sample has none; `damages`, lines of text, and
      `num_damages`, since not all of many are kept.
  """

  folder: pathlib.Path
  arrays: Mapping[str, Array]

  def __len__(self) -> int:
    return len(self.arrays['image_at'])

  @functools.cached_property
  def ends(self) -> Array:
    """One past each shard's last sample, int64 [S]."""
    return np.cumsum(self.arrays['count'])

  def shard(self, i: int) -> int:
    """Number of the shard that holds sample `i`."""
    return int(np.searchsorted(self.ends, i, side='right'))

  def name(self, i: int) -> str:
    """Shard and key of sample `i`, for people."""
    ends = self.arrays['key_end']
    key = self.arrays['keys'][ends[i - 1] if i else 0 : ends[i]].tobytes()
    shard = self._paths[self.shard(i)]
    return f'{shard}/{key.decode(errors="replace")}'

  def path(self, shard: int) -> pathlib.Path:
    """Where a shard is."""
    return pathlib.Path(self._paths[shard])

  @functools.cached_property
  def _paths(self) -> list[str]:
    return [f'{self.folder}/{name}' for name in self.arrays['name'].tolist()]

  def place(self, i: int, kind: str) -> tuple[int, int] | None:
    """Offset and size of a file of sample `i`, or None where it has none."""
    if f'{kind}_at' not in self.arrays:
      return None
    offset = int(self.arrays[f'{kind}_at'][i])
    return (offset, int(self.arrays[f'{kind}_size'][i])) if offset else None

  def check(self, shard: int, stat: os.stat_result) -> None:
    """Refuses a shard that is not the one that was indexed.

    One whose time alone has changed, as copies have, is read and digested.

    Raises:
      DataError: size or content differ.
    """
    path, known = self.path(shard), self.arrays
    same = stat.st_size == known['size'][shard]
    if same and stat.st_mtime_ns != known['changed'][shard]:
      with path.open('rb') as file:
        found = hashlib.file_digest(file, 'sha256').digest()
      same = found == known['sha256'][shard].tobytes()
    if not same:
      raise errors.DataError(
        f'{path} has changed since it was indexed: {remedy(self.folder)}'
      )


def write(
  folder: pathlib.Path | str, threads: int = 8
) -> tuple[pathlib.Path, Index]:
  """Scans all tars of a folder and writes the index, whole or not at all.

  Args:
    folder: where the *.tar files are.
    threads: how many shards are scanned at once.

  Returns:
    Where the index is (the cache, if the folder is read-only), and itself.

  Raises:
    DataError: it is no folder, has no tar, or none holds an image.
  """
  import tqdm

  root = pathlib.Path(folder).absolute()
  if not root.is_dir():
    raise errors.DataError(
      f'{folder} is no folder: give what holds *.tar or *tfrecord* files'
    )
  files = sorted(f for f in root.glob('*.tar') if f.is_file())
  if not files:
    raise errors.DataError(
      f'{folder} has no *.tar and no *tfrecord* files: give what holds them '
      '(gunzip *.tar.gz first: inside, nothing can be read at random)'
    )
  bar = tqdm.tqdm(
    total=sum(f.stat().st_size for f in files), desc='index', unit='B',
    unit_scale=True, disable=not sys.stderr.isatty(),
  )  # fmt: skip
  with bar, futures.ThreadPoolExecutor(threads) as pool:
    found = []
    for shard in pool.map(scan, files):
      found.append(shard)
      bar.update(shard.size)
  packed = sorted(f.name for f in root.iterdir() if PACKED.fullmatch(f.name))
  damages = [f'{name}: compressed: unpack it to a .tar' for name in packed]
  arrays = _joined(found, damages)
  if 'image_at' not in arrays:
    lines = arrays['damages'].tolist()
    raise errors.DataError(
      f'the tars of {folder} hold no image of '
      f'{", ".join(sorted(images.SUFFIXES))}: {lines[0] if lines else "none"}'
    )
  path = tfrecord.save_index(root, arrays, INDEX)
  return path, Index(folder=root, arrays=arrays)


def scan(path: pathlib.Path) -> Shard:
  """Digests a tar, front to back, and finds its samples by their headers.

  Raises:
    DataError: the file cannot be read.
  """
  samples, damages = {}, []
  try:
    with path.open('rb') as file:
      stat = os.fstat(file.fileno())
      digest = hashlib.file_digest(file, 'sha256').digest()
      for member in tar.members(file):
        problem = _note(samples, member)
        if problem:
          damages.append(f'{path.name}: {member.name or "tar"}: {problem}')
  except OSError as e:
    raise errors.DataError(f'{path} cannot be read: {e}') from e
  whole = {key: kinds for key, kinds in samples.items() if IMAGE in kinds}
  damages += [
    f'{path.name}: {key}: no image' for key in samples if key not in whole
  ]
  places = [
    kinds.get(kind, (0, 0)) for kinds in whole.values() for kind in KINDS
  ]
  return Shard(
    name=path.name, size=stat.st_size, changed=stat.st_mtime_ns,
    sha256=digest, damages=tuple(damages),
    keys=tuple(key.encode() for key in whole),
    places=np.array(places, np.int64).reshape(-1, len(KINDS), 2),
  )  # fmt: skip


def read(folder: pathlib.Path | str) -> Index:
  """Opens the index of a folder.

  Raises:
    DataError: there is none, or it is damaged.
  """
  root = pathlib.Path(folder).absolute()
  found = [p for p in tfrecord.index_paths(root, INDEX) if p.exists()]
  if not found:
    raise errors.DataError(f'{folder} has no index of tars: {remedy(root)}')
  try:
    arrays = mapped(found[0])
    index = Index(folder=root, arrays=arrays)
    ends, keys = arrays['key_end'], arrays['keys']
    sizes = len(index), int(index.ends[-1]), int(ends[-1])
    if sizes != (len(ends), len(ends), len(keys)):
      raise ValueError('its parts do not fit')
  except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as e:
    raise errors.DataError(f'index {found[0]}: {e}; {remedy(root)}') from e
  return index


def mapped(path: pathlib.Path) -> dict[str, Array]:
  """Arrays of an uncompressed .npz, mapped into memory, read-only.

  Raises:
    ValueError, OSError, BadZipFile: it is no such file, or is cut off.
  """
  found, data = {}, np.memmap(path, np.uint8, 'r')
  with zipfile.ZipFile(path) as file, path.open('rb') as raw:
    for entry in file.infolist():
      if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f'{entry.filename} is compressed')
      raw.seek(entry.header_offset + LOCAL_HEADER - 4)
      raw.seek(sum(np.frombuffer(raw.read(4), '<u2').tolist()), os.SEEK_CUR)
      if np.lib.format.read_magic(raw) != (1, 0):
        raise ValueError(f'{entry.filename} is no array')
      shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
      if dtype.hasobject:
        raise ValueError(f'{entry.filename} holds objects')
      begin = raw.tell()
      end = begin + math.prod(shape) * dtype.itemsize
      name = entry.filename.removesuffix('.npy')
      found[name] = data[begin:end].view(dtype).reshape(shape)
  return found


def remedy(folder: pathlib.Path) -> str:
  """What to run where an index is missing or stale."""
  return f'run `difjax data index {folder}`'


def _note(samples: dict[str, dict], member: tar.Member) -> str | None:
  """Enters a member under its sample's key; returns what is wrong with it."""
  if member.damage:
    return member.damage
  match = KEY.fullmatch(member.name)
  kind = _kind(match[2].lower()) if match else None
  if kind is None:
    return None
  kinds = samples.setdefault(match[1], {})
  if kind in kinds:
    return f'a second {kind} of its key'
  if not 0 < member.size <= LARGEST:
    return f'{member.size} bytes'
  kinds[kind] = member.offset, member.size
  return None


def _kind(suffix: str) -> str | None:
  if f'.{suffix}' in images.SUFFIXES:
    return IMAGE
  return suffix if suffix in KINDS[1:] else None


def _joined(shards: list[Shard], damages: list[str]) -> dict[str, Array]:
  """The index's arrays; that only some samples have a file is a damage."""
  lengths = [len(key) for shard in shards for key in shard.keys]
  keys = b''.join(key for shard in shards for key in shard.keys)
  digests = b''.join(shard.sha256 for shard in shards)
  arrays = {
    'name': np.array([shard.name for shard in shards]),
    'count': np.array([len(shard.keys) for shard in shards], np.int64),
    'size': np.array([shard.size for shard in shards], np.int64),
    'changed': np.array([shard.changed for shard in shards], np.int64),
    'sha256': np.frombuffer(digests, np.uint8).reshape(-1, 32),
    'key_end': np.cumsum(lengths, dtype=np.int64),
    'keys': np.frombuffer(keys, np.uint8),
  }
  places = np.concatenate([shard.places for shard in shards])
  damages = [*damages, *(line for s in shards for line in s.damages)]
  count = len(damages)
  for k, kind in enumerate(KINDS):
    absent = places[:, k, 0] == 0
    if not absent.all():
      arrays[f'{kind}_at'] = places[:, k, 0]
      arrays[f'{kind}_size'] = places[:, k, 1].astype(np.uint32)
      count += int(absent.sum())
      damages += _absent(shards, kind, np.flatnonzero(absent)[:LISTED])
  arrays['num_damages'] = np.array(count)
  arrays['damages'] = np.array(damages[:LISTED], np.str_)
  return arrays


def _absent(shards: list[Shard], kind: str, rows: Array) -> list[str]:
  ends = np.cumsum([len(shard.keys) for shard in shards])
  found = []
  for row in rows.tolist():
    s = int(np.searchsorted(ends, row, side='right'))
    key = shards[s].keys[row - int(ends[s])].decode()
    found.append(f'{shards[s].name}: {key}: no {kind}, which others have')
  return found
