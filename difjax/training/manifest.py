"""Integrity of a folder: the sha256 of every file, written beside them.

Orbax restores a flipped bit without a word. So a step is sealed while it still
has its temporary name: only a folder with a manifest is ever committed, and a
step without one was not written to its end, or has lost it. What lies in the
folder must be what the manifest lists, neither less nor more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent import futures

from etils import epath

NAME = 'difjax_manifest.json'
_CHUNK = 2**22  # bytes read at once
_THREADS = 4  # hashing leaves Python's lock: files are read side by side
# What orbax writes after the seal, as it commits. The first must be there and
# say nothing; of the second nothing that a restore takes numbers from.
_COMMITTED = 'commit_success.txt'
_METADATA = '_CHECKPOINT_METADATA'


def write(folder: epath.Path) -> None:
  """Seals a folder; its manifest appears whole or not at all."""
  partial = folder / f'{NAME}.partial'
  digests = _digests(folder, _files(folder) - {_COMMITTED, _METADATA})
  partial.write_text(json.dumps(digests, indent=1))
  partial.replace(folder / NAME)


def fault(folder: epath.Path) -> str | None:
  """Says what is wrong with a sealed and committed folder, None if nothing."""
  file = folder / NAME
  if not file.exists():
    return f'{NAME} is missing: it was not written to its end'
  try:
    listed = json.loads(file.read_text())
  except ValueError:
    return f'{NAME} is no JSON'
  if not isinstance(listed, Mapping):
    return f'{NAME} is no table of files'
  found = _files(folder)
  return (
    _missing({*listed, _COMMITTED, _METADATA}, found)
    or _unlisted({*listed, _COMMITTED, _METADATA}, found)
    or _changed(folder, listed)
    or _malformed(folder / _METADATA)
  )


def _missing(listed: set[str], found: set[str]) -> str | None:
  lost = sorted(listed - found)
  return f'{lost[0]} is missing' if lost else None


def _unlisted(listed: set[str], found: set[str]) -> str | None:
  more = sorted(found - listed)
  return f'{more[0]} is not in {NAME}' if more else None


def _changed(folder: epath.Path, listed: Mapping[str, str]) -> str | None:
  for name, digest in _digests(folder, set(listed)).items():
    if digest != listed[name]:
      return f'{name} has changed since it was written'
  return None


def _malformed(file: epath.Path) -> str | None:
  try:
    json.loads(file.read_text())
  except ValueError:
    return f'{file.name} is no JSON'
  return None


def _files(folder: epath.Path) -> set[str]:
  """Lists the files of a folder by their paths in it, without the manifest."""
  names = {str(file.relative_to(folder)) for file in _walk(folder)}
  return names - {NAME, f'{NAME}.partial'}


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
  """Yields all files; etils has no recursive patterns."""
  for entry in folder.iterdir():
    if entry.is_dir():
      yield from _walk(entry)
    else:
      yield entry


def _digests(folder: epath.Path, names: set[str]) -> dict[str, str]:
  ordered = sorted(names)
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    digests = pool.map(lambda name: _sha256(folder / name), ordered)
    return dict(zip(ordered, digests, strict=True))


def _sha256(file: epath.Path) -> str:
  total = hashlib.sha256()
  with file.open('rb') as stream:
    while chunk := stream.read(_CHUNK):
      total.update(chunk)
  return total.hexdigest()
