"""What lies where in a tar file, found by reading it once, front to back.

A file is a sequence of blocks of 512 bytes (POSIX.1-1988, ustar): for each
member a header and its content, filled up with zeros; two blocks of zeros end
it. A header holds

  name [0, 100)   size [124, 136)   checksum [148, 156)   type [156]      (1)
  magic [257, 263)   prefix of the name [345, 500)                        (2)

with numbers in octal, and its checksum is the sum of its bytes, those of the
checksum itself taken as blanks. Longer names come in a member of their own
before (GNU's type L, POSIX's type x).

Nothing is extracted: a member's name is a text to report and to group by, and
what is not a plain file is passed over.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import IO

BLOCK = 512
PIECE = 1 << 20  # bytes read at once, and the most that a long name may take
ZEROS = bytes(BLOCK)
MAGIC = b'ustar'
PLAIN = frozenset(b'0\x007')
GNU_NAME, POSIX_NAME = b'L'[0], b'x'[0]
SPACES = 8 * ord(' ')
# Of a POSIX header: 'LENGTH KEY=VALUE', a line, LENGTH being the line's.
RECORD = re.compile(rb'(\d{1,9}) ([^=]+)=')


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


class Hashed:
  """Reads a file front to back and digests what passes.

  Attributes:
    at: how many bytes have passed.
    sha256: their digest.
  """

  def __init__(self, file: IO[bytes]) -> None:
    self._file = file
    self.at = 0
    self.sha256 = hashlib.sha256()

  def read(self, size: int) -> bytes:
    """Returns the next bytes, fewer only at the end."""
    data = self._file.read(size)
    self.sha256.update(data)
    self.at += len(data)
    return data

  def skip(self, size: int) -> None:
    """Passes over the next bytes, or to the end."""
    while size > 0 and (data := self.read(min(size, PIECE))):
      size -= len(data)


def members(file: Hashed) -> Iterator[Member]:
  """Yields every plain file, and every damage, in the order of the tar.

  After a damaged header the next sound one is looked for, block by block, so
  that one bad member costs no other.
  """
  name = size = None  # what a header of a long name says of the next member
  lost = ended = False
  while block := file.read(BLOCK):
    at = file.at - len(block)
    ended = block == ZEROS
    if ended:
      continue
    head = header(block)
    if head is None:
      if not lost:
        yield _damage(f'bad header at byte {at}', at)
      lost = True
      continue
    lost = False
    kind, own_name, own_size = head
    if kind in (GNU_NAME, POSIX_NAME):
      long = file.read(min(padded(own_size), PIECE))[:own_size]
      file.skip(at + BLOCK + padded(own_size) - file.at)
      name, size = _long_name(kind, long, name, size)
      continue
    member = Member(
      name=own_name if name is None else name,
      offset=file.at,
      size=own_size if size is None else size,
    )
    name = size = None
    file.skip(padded(member.size))
    if kind in PLAIN:
      yield _checked(member, file.at)
  if not ended:
    yield _damage('no mark of the end: cut off?', file.at)


def header(block: bytes) -> tuple[int, str, int] | None:
  """Type, name and size from a header, or None where it is damaged."""
  if len(block) < BLOCK:
    return None
  try:
    stated = int(block[148:156].strip(b' \0'), 8)
    size = _number(block[124:136])
  except ValueError:
    return None
  if sum(block) - sum(block[148:156]) + SPACES != stated or size < 0:
    return None
  name = _text(block[:100])
  if block.startswith(MAGIC + b'\0', 257) and block[345]:
    name = f'{_text(block[345:500])}/{name}'
  return block[156], name, size


def padded(size: int) -> int:
  """Bytes that a content takes in whole blocks."""
  return -(-size // BLOCK) * BLOCK


def _number(field: bytes) -> int:
  if field[0] & 0x80:  # GNU: past 8 GiB, in base 256
    return int.from_bytes(field[1:])
  return int(field.strip(b' \0') or b'0', 8)


def _text(field: bytes) -> str:
  return field.split(b'\0', 1)[0].decode(errors='backslashreplace')


def _long_name(
  kind: int, data: bytes, name: str | None, size: int | None
) -> tuple[str | None, int | None]:
  """What a header of a long name adds to the name and size known so far."""
  if kind == GNU_NAME:
    return _text(data), size
  at = 0
  while found := RECORD.match(data, at):
    end = at + int(found[1])
    value = data[found.end() : end - 1]
    if found[2] == b'path':
      name = _text(value)
    elif found[2] == b'size' and value.isdigit():
      size = int(value)
    at = max(end, found.end())
  return name, size


def _checked(member: Member, end: int) -> Member:
  """The member, with what can be seen to be wrong with it."""
  if end < member.offset + member.size:
    return dataclasses.replace(member, damage='cut off')
  if not member.name.isprintable():
    name = member.name.encode('unicode_escape').decode()
    return dataclasses.replace(member, name=name, damage='unprintable name')
  return member


def _damage(what: str, at: int) -> Member:
  return Member(name='', offset=at, size=0, damage=what)
