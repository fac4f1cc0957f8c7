import hashlib
import io
import os
import subprocess
import tarfile

import pytest

from difjax.data import tar
from tests.data import tars

FILES = {'a/1.png': b'x' * 700, 'a/1.txt': b'', 'b.json': b'{' * 512}


def found(data):
  return list(tar.members(tar.Hashed(io.BytesIO(data))))


@pytest.mark.parametrize(
  'form', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_members_are_those_of_the_standard_library(tmp_path, form):
  deep = 'd' * 90 + '/' + 'n' * 60  # ustar splits it, others lengthen it
  files = {**FILES, deep + '.png': b'deep', 'après.txt': b'accent'}
  if form != tarfile.USTAR_FORMAT:
    files['l' * 300 + '.png'] = b'long'
  tars.write(tmp_path / 'a.tar', files, form)
  data = (tmp_path / 'a.tar').read_bytes()
  hashed = tar.Hashed(io.BytesIO(data))
  members = list(tar.members(hashed))
  assert [m.name for m in members] == list(files)
  assert not [m for m in members if m.damage]
  for m in members:
    assert data[m.offset : m.offset + m.size] == files[m.name]
  assert hashed.sha256.digest() == hashlib.sha256(data).digest()
  assert hashed.at == len(data)


def test_what_the_system_s_tar_writes(tmp_path):
  for name, data in FILES.items():
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
  os.symlink('/etc/passwd', tmp_path / 'c.png')
  os.mkfifo(tmp_path / 'd.png')
  command = ['tar', '-cf', 'x.tar', 'a', 'b.json', 'c.png', 'd.png']
  subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
  data = (tmp_path / 'x.tar').read_bytes()
  # Folders, links and pipes are passed over.
  assert {m.name: data[m.offset : m.offset + m.size] for m in found(data)} == (
    FILES
  )


def test_a_bad_header_costs_its_member_alone(tmp_path):
  tars.write(tmp_path / 'a.tar', tars.samples(2))
  data = bytearray((tmp_path / 'a.tar').read_bytes())
  before = found(bytes(data))
  at = before[1].offset - 512
  data[at + 3] ^= 1
  after = found(bytes(data))
  assert after[1].damage == f'bad header at byte {at}'
  assert [*after[:1], *after[2:]] == [*before[:1], *before[2:]]


@pytest.mark.parametrize('cut', range(512, 3 * 512, 100))
def test_every_cut_is_found(tmp_path, cut):
  tars.write(tmp_path / 'a.tar', {'a.png': b'x' * 700})
  damages = [m.damage for m in found((tmp_path / 'a.tar').read_bytes()[:cut])]
  assert damages[-1] == 'no mark of the end: cut off?'
  assert ('cut off' in damages) == (cut < 512 + 700)


def test_hostile_headers_end(tmp_path):
  tars.write(tmp_path / 'a.tar', {'a.png': b'x', 'b\n\x1b[2J.png': b'y'})
  data = (tmp_path / 'a.tar').read_bytes()
  assert found(data)[1].damage == 'unprintable name'
  assert found(data)[1].name.isprintable()
  assert all(m.damage for m in found(os.urandom(5000)))
  member = tarfile.TarInfo('x' * 20)
  member.size = 2**62
  head = member.tobuf(tarfile.GNU_FORMAT)
  assert found(head)[0].damage == 'cut off'
  for kind in (b'L', b'x'):
    member.type = kind
    assert all(m.damage for m in found(member.tobuf(tarfile.GNU_FORMAT)))
