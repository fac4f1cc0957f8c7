"""What lies where in a tar file, damaged or not.

Headers are read by the standard library, one at a time: left to itself, its
`TarFile` ends in silence where a file is cut off and, asked to ignore zeros,
passes over what is damaged without a word. Blocks of 512 bytes that are neither
zeros nor part of a member are damage; two blocks of zeros end a file.

Nothing is extracted: a member's name is a text to report and to group by, and
what is not a plain file is passed over.
"""

from __future__ import annotations

import dataclasses
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
ZEROS = bytes(BLOCK)
# What headers from strangers make the library raise: numbers that are none,
# names longer than memory, long names of long names of long names ...
_HOSTILE = (
  tarfile.HeaderError, ValueError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
  """A plain file in a tar, or a damage found on the way.

  Attributes:
    name: as the header has it.
    offset: of its first byte in the tar.
    size: in bytes.
    damage: what is wrong with it, where something is.
  """

  name: str
  offset: int
  size: int
  damage: str | None = None


def members(file: BinaryIO) -> Iterator[Member]:
  """Yields every plain file, and every damage, in the order of the tar.

  After a damaged header the next sound one is looked for, block by block, so
  that one bad member costs no other.

  Args:
    file: a tar, uncompressed, that can be sought in.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(size + 1)  # where the library finds nothing to read yet
  archive = tarfile.TarFile(
    fileobj=file, encoding='utf-8', errors='backslashreplace'
  )
  at, lost, ended = 0, False, False
  while at < size:
    file.seek(at)
    ended = file.read(BLOCK) == ZEROS
    if ended:
      at += BLOCK
      continue
    file.seek(at)
    info = _header(archive)
    if info is None:
      if not lost:
        yield _damage(f'bad header at byte {at}', at)
      at = file.tell()
    else:
      at = archive.offset
      if info.isreg():
        yield _checked(info, size)
    lost = info is None
  if not ended:
    yield _damage('no mark of the end: cut off?', size)


def _header(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
  """Reads what heads the next member; None where it is damaged."""
  try:
    info = tarfile.TarInfo.fromtarfile(archive)
  except _HOSTILE:
    return None
  return info if info.size >= 0 and info.offset < archive.offset else None


def _checked(info: tarfile.TarInfo, end: int) -> Member:
  """The member, with what can be seen to be wrong with it."""
  member = Member(name=info.name, offset=info.offset_data, size=info.size)
  if info.issparse():
    return dataclasses.replace(member, damage='stored in pieces (sparse)')
  if end < member.offset + member.size:
    return dataclasses.replace(member, damage='cut off')
  if not member.name.isprintable():
    name = member.name.encode('unicode_escape').decode()
    return dataclasses.replace(member, name=name, damage='unprintable name')
  return member


def _damage(what: str, at: int) -> Member:
  return Member(name='', offset=at, size=0, damage=what)
