import io
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from difjax import data, errors
from difjax.data import images
from difjax.data import lmdb as ours

lmdb = pytest.importorskip('lmdb')


def write(path, values):
  """Writes what LSUN's archives hold: a folder of data.mdb and lock.mdb."""
  with (
    lmdb.open(str(path), map_size=1 << 22) as environment,
    environment.begin(write=True) as transaction,
  ):
    for key, value in values.items():
      transaction.put(key, value)


def picture(k, width=4, height=4, suffix='WEBP'):
  buffer = io.BytesIO()
  image = Image.new('RGB', (width, height), (k, 2 * k, 255 - k))
  image.save(buffer, suffix, lossless=True)
  return buffer.getvalue()


def test_images_come_in_the_order_of_their_keys(tmp_path):
  # LSUN's keys are sha1 digests, in hexadecimal; lengths may differ too.
  values = {b'b2': picture(20), b'a': picture(10), b'b\x00': picture(30)}
  write(tmp_path, values)
  found = ours.Lmdb(path=str(tmp_path))
  assert len(found) == 3
  assert found.shape == (4, 4, 3)
  reds = [int(found[i]['image'][0, 0, 0]) for i in range(3)]
  assert reds == [10, 30, 20]
  assert found[0]['image'][0, 0].tolist() == [10, 20, 245]
  assert set(found[0]) == {'image'}
  assert found.num_classes == 0
  again = data.Lmdb(path=str(tmp_path))  # opened twice, index read
  np.testing.assert_array_equal(
    again.take(np.arange(3))['image'], found.take(np.arange(3))['image']
  )
  assert again.fingerprint() == found.fingerprint()


def test_size_is_the_central_square(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (8, 13, 3), np.uint8)
  write(tmp_path, {b'k': images.encode_png(pixels)})
  found = ours.Lmdb(path=str(tmp_path), size=8)
  # Short side 8: nothing is scaled, as LSUN at 256.
  np.testing.assert_array_equal(found[0]['image'], pixels[:, 2:10])


def test_the_index_is_made_once_and_again_when_stale(tmp_path, monkeypatch):
  write(tmp_path / 'one', {b'a': picture(1), b'b': picture(2)})
  assert len(ours.Lmdb(path=str(tmp_path / 'one'))) == 2
  index = tmp_path / 'one' / ours.INDEX
  assert index.exists()
  with monkeypatch.context() as patch:
    patch.setattr(ours, '_list_keys', None)  # not called again
    assert len(ours.Lmdb(path=str(tmp_path / 'one'))) == 2
  # The same folder's index beside another data base, and a damaged one.
  write(tmp_path / 'two', {b'c': picture(3)})
  shutil.copy(index, tmp_path / 'two')
  found = ours.Lmdb(path=str(tmp_path / 'two'))
  assert [int(found[i]['image'][0, 0, 0]) for i in range(len(found))] == [3]
  (tmp_path / 'two' / ours.INDEX).write_bytes(b'PK\x03\x04damaged')
  assert len(ours.Lmdb(path=str(tmp_path / 'two'))) == 1


# In a process of its own: this one has threads of JAX, which do not fork.
FORKING = """
import os, sys
from difjax.data import lmdb
found = lmdb.Lmdb(path=sys.argv[1])
red = lambda i: int(found[i]['image'][0, 0, 0])
assert red(7) == 7
child = os.fork()
assert [red(i) for i in range(40)] == list(range(40))
assert not child or os.waitpid(child, 0)[1] == 0
"""


def test_forks_and_threads_read(tmp_path):
  values = {b'%03d' % k: picture(k) for k in range(40)}
  write(tmp_path, values)
  command = [sys.executable, '-c', FORKING, str(tmp_path)]
  subprocess.run(command, check=True, cwd=pathlib.Path(__file__).parents[2])
  found = ours.Lmdb(path=str(tmp_path))
  pipeline = data.Pipeline(source=found, batch_size=40, threads=4)
  for _, batch in pipeline.batches(0, 3, lambda load, _: load(np.arange(40))):
    assert sorted(batch['image'][:, 0, 0, 0].tolist()) == list(range(40))


def test_bad_data_bases_are_named(tmp_path):
  def opened(name):
    with pytest.raises(errors.DataError) as e:
      ours.Lmdb(path=str(tmp_path / name))[0]
    assert '\n' not in str(e.value)
    return str(e.value)

  (tmp_path / 'none').mkdir()
  assert 'none is no folder with data.mdb' in opened('none')
  (tmp_path / 'text').mkdir()
  (tmp_path / 'text/data.mdb').write_bytes(b'hello' * 2000)
  assert 'text/data.mdb is no LMDB' in opened('text')
  write(tmp_path / 'empty', {})
  assert 'empty data base' in opened('empty')
  write(tmp_path / 'whole', {b'%d' % k: bytes(5000) for k in range(20)})
  assert 'not a readable image' in opened('whole')
  (tmp_path / 'cut').mkdir()
  cut = (tmp_path / 'whole/data.mdb').read_bytes()[:30_000]
  (tmp_path / 'cut/data.mdb').write_bytes(cut)
  assert 'cut/data.mdb is no LMDB, or damaged (truncated)' in opened('cut')


def test_without_the_library_the_remedy_is_named(tmp_path, monkeypatch):
  write(tmp_path, {b'a': picture(1)})
  monkeypatch.setitem(sys.modules, 'lmdb', None)
  with pytest.raises(errors.DataError, match='pip install lmdb'):
    len(ours.Lmdb(path=str(tmp_path)))
