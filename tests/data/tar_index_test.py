import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from difjax import errors
from difjax.data import tar_index
from tests.data import tars


@pytest.fixture
def folder(tmp_path):
  tars.write(tmp_path / 'b.tar', tars.samples(3))
  tars.write(tmp_path / 'a.tar', tars.samples(2, first=3))
  return tmp_path


def test_an_index_says_where_everything_is(folder):
  path, written = tar_index.write(folder)
  assert path == folder / tar_index.INDEX
  index = tar_index.read(folder)
  for key, value in written.arrays.items():
    np.testing.assert_array_equal(index.arrays[key], value)
  assert len(index) == 5
  assert index.arrays['name'].tolist() == ['a.tar', 'b.tar']
  assert index.arrays['count'].tolist() == [2, 3]
  files = tars.samples(5)
  for i, number in enumerate([3, 4, 0, 1, 2]):
    shard = 'ab'[i >= 2]
    assert index.name(i) == f'{folder}/{shard}.tar/{number}'
    data = index.path(index.shard(i)).read_bytes()
    for kind, suffix in zip(
      tar_index.KINDS, ('png', 'txt', 'json', 'cls'), strict=True
    ):
      offset, size = index.place(i, kind)
      assert data[offset : offset + size] == files[f'{number}.{suffix}']
  for k, name in enumerate(['a.tar', 'b.tar']):
    digest = hashlib.sha256((folder / name).read_bytes()).digest()
    assert index.arrays['sha256'][k].tobytes() == digest


def test_an_index_is_mapped_and_small(tmp_path):
  tars.write(tmp_path / 'a.tar', tars.samples(200))
  path, _ = tar_index.write(tmp_path)
  assert path.stat().st_size < 200 * 70 + 5000
  assert isinstance(tar_index.read(tmp_path).arrays['image_at'], np.memmap)


def test_keys_end_at_the_first_dot_of_the_file_name(tmp_path):
  names = ['./v1.0/x.JPG', './v1.0/x.seg.png', './v1.0/x.cls', '.hidden.png']
  tars.write(tmp_path / 'a.tar', dict.fromkeys(names, b'1'))
  _, index = tar_index.write(tmp_path)
  assert [index.name(i) for i in range(len(index))] == [
    f'{tmp_path}/a.tar/./v1.0/x'
  ]
  assert index.place(0, 'cls')
  assert index.place(0, 'txt') is None


def test_damages_are_counted_and_named(tmp_path):
  files = tars.samples(4)
  del files['1.json'], files['2.png']
  files['3.jpg'] = b'another image'
  files['../../escape.png'] = b''
  tars.write(tmp_path / 'a.tar', files)
  (tmp_path / 'b.tar').write_bytes(b'')
  tars.write(tmp_path / 'c.tar', tars.samples(2))
  with (tmp_path / 'c.tar').open('r+b') as file:
    file.truncate(7 * 1024 + 513)  # in the second sample's class
  (tmp_path / 'd.tar.gz').write_bytes(b'')
  _, index = tar_index.write(tmp_path)
  known = tar_index.read(tmp_path).arrays
  assert known['damages'].tolist() == [
    'd.tar.gz: compressed: unpack it to a .tar',
    'a.tar: 3.jpg: a second image of its key',
    'a.tar: ../../escape.png: 0 bytes',
    'a.tar: 2: no image',
    'a.tar: ../../escape: no image',
    'b.tar: tar: no mark of the end: cut off?',
    'c.tar: 1.cls: cut off',
    'c.tar: tar: no mark of the end: cut off?',
    'a.tar: 1: no json, which others have',
    'c.tar: 1: no cls, which others have',
  ]
  assert known['num_damages'] == 10
  assert known['count'].tolist() == [3, 0, 2]
  assert index.shard(3) == 2
  assert not list(tmp_path.parent.glob('**/escape*'))


def test_folders_without_images_are_refused(tmp_path):
  with pytest.raises(errors.DataError, match=r'no \*\.tar'):
    tar_index.write(tmp_path)
  with pytest.raises(errors.DataError, match='nowhere is no folder'):
    tar_index.write(tmp_path / 'nowhere')
  tars.write(tmp_path / 'a.tar', {'a.txt': b'text'})
  with pytest.raises(errors.DataError, match='hold no image'):
    tar_index.write(tmp_path)
  assert not (tmp_path / tar_index.INDEX).exists()


def test_missing_and_damaged_indices_say_what_to_run(folder):
  remedy = f'difjax data index {folder}'
  with pytest.raises(errors.DataError, match=remedy):
    tar_index.read(folder)
  path, _ = tar_index.write(folder)
  whole = path.read_bytes()
  for cut in (0, 10, 100, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:cut])
    with pytest.raises(errors.DataError, match=remedy):
      tar_index.read(folder)
  np.savez(path, keys=np.array([{'an': 'object'}], object))
  with pytest.raises(errors.DataError, match='holds objects'):
    tar_index.read(folder)


def test_a_shard_that_has_changed_is_refused_by_name(folder):
  _, index = tar_index.write(folder)
  path = folder / 'a.tar'
  data = bytearray(path.read_bytes())
  index.check(0, path.stat())
  os.utime(path, (1, 1))  # a copy: same bytes, another time
  index.check(0, path.stat())
  data[600] ^= 1
  path.write_bytes(data)
  with pytest.raises(errors.DataError, match=r'a\.tar has changed'):
    index.check(0, path.stat())
  path.write_bytes(data + bytes(512))
  with pytest.raises(errors.DataError, match=r'a\.tar has changed'):
    index.check(0, path.stat())
  index.check(1, (folder / 'b.tar').stat())


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_indexer_leaves_nothing(folder, number):
  script = f"""
import os, sys
from difjax.data import tar, tar_index
def stuck(file):
  print('scanning', flush=True)
  yield from ()
  os.kill(os.getpid(), {int(number)})
tar.members = stuck
tar_index.write(sys.argv[1])
"""
  before = sorted(folder.iterdir())
  run = subprocess.run(
    [sys.executable, '-c', script, str(folder)], timeout=60, check=False
  )
  assert run.returncode == -number
  assert sorted(folder.iterdir()) == before


def test_an_index_replaces_the_old_one_at_once_or_not_at_all(
  folder, monkeypatch
):
  path, _ = tar_index.write(folder)
  whole = path.read_bytes()

  def killed(file, **arrays):
    file.write_bytes(b'half')
    raise KeyboardInterrupt

  monkeypatch.setattr(np, 'savez', killed)
  with pytest.raises(KeyboardInterrupt):
    tar_index.write(folder)
  assert path.read_bytes() == whole
