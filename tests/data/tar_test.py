import io
import os
import subprocess
import tarfile

import pytest

from difjax.data import tar
from tests.data import tars

FILES = {'a/1.png': b'x' * 700, 'a/1.txt': b'', 'b.json': b'{' * 512}


def found(data):
  return list(tar.members(io.BytesIO(data)))


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
  members = found(data)
  assert [m.name for m in members] == list(files)
  assert not [m for m in members if m.damage]
  for m in members:
    assert data[m.offset : m.offset + m.size] == files[m.name]


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


@pytest.mark.parametrize('form', [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_long_name_without_its_member_costs_no_other(tmp_path, form):
  names = ['0.png', 'l' * 200 + '.png', '2.png']
  tars.write(tmp_path / 'a.tar', dict.fromkeys(names, b'x'), form)
  data = bytearray((tmp_path / 'a.tar').read_bytes())
  whole = found(bytes(data))
  data[whole[1].offset - 512] ^= 1  # its own header, after that of its name
  first, bad, *rest = found(bytes(data))
  assert [first, *rest] == [whole[0], whole[2]]
  assert bad.damage == 'bad header at byte 1024'


def test_blocks_that_are_lost_cost_no_member_behind(tmp_path):
  tars.write(tmp_path / 'a.tar', {f'{i}.png': b'x' * 1024 for i in range(4)})
  data = (tmp_path / 'a.tar').read_bytes()
  at = found(data)[1].offset
  members = found(data[:at] + data[at + 512 :])
  # The second reaches into the header of the third, which is found no more.
  sound = [m.name for m in members if not m.damage]
  assert sound == ['0.png', '1.png', '3.png']
  assert [m.damage for m in members if m.damage] == [
    f'bad header at byte {at + 1024}'
  ]


def test_a_file_in_pieces_is_damage(tmp_path):
  with (tmp_path / 'a.png').open('wb') as file:
    file.truncate(1 << 20)
    file.seek(1 << 19)
    file.write(b'x')
  (tmp_path / 'b.png').write_bytes(b'y')
  command = ['tar', '-Scf', 'x.tar', 'a.png', 'b.png']
  subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
  pieces, whole = found((tmp_path / 'x.tar').read_bytes())
  assert (pieces.name, pieces.damage) == ('a.png', 'stored in pieces (sparse)')
  assert (whole.name, whole.damage) == ('b.png', None)


def test_hostile_headers_end(tmp_path):
  tars.write(tmp_path / 'a.tar', {'a.png': b'x', 'b\n\x1b[2J.png': b'y'})
  data = (tmp_path / 'a.tar').read_bytes()
  assert found(data)[1].damage == 'unprintable name'
  assert found(data)[1].name.isprintable()
  assert all(m.damage for m in found(os.urandom(5000)))
  assert found(header(size=2**62))[0].damage == 'cut off'
  hostile = [
    header(size=-512), header(size=-1), header(size=2**62, type=b'L'),
    header(size=-512, type=b'L'), header(size=2**62, type=b'x'),
    header(size=2**62, type=b'g'), header(size=0, type=b'L') * 3000,
    header(size=2**62, type=b'S'),
  ]  # fmt: skip
  for k, head in enumerate(hostile):
    path = tmp_path / f'{k}.tar'
    path.write_bytes(head + data)
    with path.open('rb') as file:
      members = list(tar.members(file))
    assert members[0].damage, k
    assert len(members) < 5


def header(size, type=tarfile.REGTYPE):
  member = tarfile.TarInfo('x' * 20)
  member.size, member.type = size, type
  return member.tobuf(tarfile.GNU_FORMAT)
