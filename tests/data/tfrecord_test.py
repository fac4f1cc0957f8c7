import os
import pathlib
import struct

import numpy as np
import pytest

from difjax import errors
from difjax.data import tfrecord

# Written by tf.io.TFRecordWriter: a tf.train.Example, then b'abc'.
OFFICIAL = bytes.fromhex(
  '3f00000000000000516576610a3d0a110a05696d61676512080a060a0489504e470a190a05'
  '6c6162656c12101a0e0a0cac02ffffffffffffffffff010a0d0a0177120812060a04000000'
  '3ff293f9310300000000000000b099490e6162636e57f121'
)


def write(path, payloads):
  """Writes records, leaving out the crc of the payloads, which is not read."""
  with path.open('wb') as file:
    for payload in payloads:
      length = struct.pack('<Q', len(payload))
      crc = struct.pack('<I', tfrecord.masked_crc32c(length))
      file.write(length + crc + payload + bytes(4))


def records(folder, *pieces):
  pieces = tuple(
    tfrecord.Piece(name=name, start=start, stop=stop)
    for name, start, stop in pieces
  )
  return tfrecord.Records(folder=folder, pieces=pieces)


def test_crc_of_the_standard():
  # RFC 3720 B.4: the CRC-32C of 32 zero bytes is 8a9136aa.
  crc = 0x8A9136AA
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  assert tfrecord.masked_crc32c(bytes(32)) == masked


def test_reads_what_tensorflow_wrote(tmp_path):
  (tmp_path / 'a.tfrecord').write_bytes(OFFICIAL)
  assert list(tfrecord.scan(tmp_path / 'a.tfrecord')) == [0, 79, 98]
  tfrecord.write_index(str(tmp_path))
  found = records(tmp_path, ('a.tfrecord', 0, 2))
  assert len(found) == 2
  assert found[0] == OFFICIAL[12:75]
  assert found[1] == b'abc'


def test_pieces_join_in_order(tmp_path):
  payloads = [bytes([k]) * (k + 1) for k in range(9)]
  write(tmp_path / 'x.tfrecord-0', payloads[:4])
  write(tmp_path / 'x.tfrecord-1', payloads[4:])
  tfrecord.write_index(str(tmp_path))
  found = records(tmp_path, ('x.tfrecord-0', 1, 4), ('x.tfrecord-1', 0, 3))
  assert [found[i] for i in range(len(found))] == payloads[1:7]
  with pytest.raises(errors.DataError, match='holds 5 records, not the 6'):
    records(tmp_path, ('x.tfrecord-1', 0, 6))[0]


def test_read_only_folders_are_indexed_in_the_cache(tmp_path, monkeypatch):
  data, cache = tmp_path / 'data', tmp_path / 'cache'
  data.mkdir()
  monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
  write(data / 'a.tfrecord', [b'one'])
  replace = os.replace

  def refuse(source, target):
    if pathlib.Path(target).parent == data:
      raise PermissionError(f'{target} is read-only')
    replace(source, target)

  monkeypatch.setattr(os, 'replace', refuse)
  assert tfrecord.write_index(str(data)).is_relative_to(cache)
  assert records(data, ('a.tfrecord', 0, 1))[0] == b'one'


def test_missing_and_stale_indices_say_what_to_run(tmp_path):
  write(tmp_path / 'a.tfrecord', [b'one'])
  remedy = f'difjax data index {tmp_path}'
  with pytest.raises(errors.DataError, match=remedy):
    records(tmp_path, ('a.tfrecord', 0, 1))[0]
  tfrecord.write_index(str(tmp_path))
  write(tmp_path / 'a.tfrecord', [b'one', b'two'])
  with pytest.raises(errors.DataError, match=f'has changed: run `{remedy}'):
    records(tmp_path, ('a.tfrecord', 0, 1))[0]
  (tmp_path / tfrecord.INDEX).write_bytes(b'damaged')
  with pytest.raises(errors.DataError, match=remedy):
    records(tmp_path, ('a.tfrecord', 0, 1))[0]


@pytest.mark.parametrize(
  'data',
  [
    OFFICIAL[:-1],
    OFFICIAL[:85],
    b'\x40' + OFFICIAL[1:],
    b'\x1f\x8b' + bytes(50),
    OFFICIAL + bytes(3),
  ],
)
def test_damage_is_found_by_the_scan(tmp_path, data):
  path = tmp_path / 'a.tfrecord'
  path.write_bytes(data)
  with pytest.raises(errors.DataError, match=r'a\.tfrecord is no TFRecord'):
    tfrecord.write_index(str(tmp_path))
  assert not (tmp_path / tfrecord.INDEX).exists()


def test_folders_without_records_are_refused(tmp_path):
  with pytest.raises(errors.DataError, match=r'no \*tfrecord\* files'):
    tfrecord.write_index(str(tmp_path))


def test_bounds_are_int64(tmp_path):
  write(tmp_path / 'a.tfrecord', [b'', b'xy'])
  tfrecord.write_index(str(tmp_path))
  bounds = tfrecord.read_index(tmp_path, ['a.tfrecord'])['a.tfrecord']
  assert bounds.dtype == np.int64
  assert bounds.tolist() == [0, 16, 34]
