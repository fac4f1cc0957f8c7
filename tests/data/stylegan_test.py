import struct

import numpy as np
import pytest

from difjax import data, errors
from difjax.data import stylegan, tfrecord

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


def varint(value):
  value &= (1 << 64) - 1  # int64, in two's complement
  out = b''
  while value > 0x7F:
    out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
  return out + bytes([value])


def field(number, payload):
  return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def encode(shape, pixels, names=('shape', 'data')):
  """A tf.train.Example by the rules of protocol buffers."""
  ints = field(3, field(1, b''.join(map(varint, shape))))
  values = (ints, field(1, field(1, pixels)))
  entries = (
    field(1, field(1, name.encode()) + field(2, value))
    for name, value in zip(names, values, strict=True)
  )
  return field(1, b''.join(entries))


def record(image):
  """What StyleGAN's dataset_tool writes for one image."""
  planes = image.transpose(2, 0, 1)
  return encode(planes.shape, planes.tobytes())


def write(path, payloads, index=True):
  with path.open('wb') as file:
    for payload in payloads:
      length = struct.pack('<Q', len(payload))
      crc = struct.pack('<I', tfrecord.masked_crc32c(length))
      file.write(length + crc + payload + bytes(4))
  if index:
    tfrecord.write_index(str(path.parent))
  return str(path)


def test_pixels_come_back_channel_last(tmp_path):
  path = write(tmp_path / 'ffhq-r02.tfrecords', map(record, IMAGES))
  found = data.StyleGAN(path=path)
  assert len(found) == 5
  assert found.shape == (4, 6, 3)
  np.testing.assert_array_equal(found.take(np.arange(5))['image'], IMAGES)
  assert set(found[0]) == {'image'}
  assert found.num_classes == 0


def test_resolutions_share_an_index(tmp_path):
  write(tmp_path / 'x-r01.tfrecords', map(record, IMAGES[:2, :2, :2]), False)
  path = write(tmp_path / 'x-r02.tfrecords', map(record, IMAGES))
  assert len(stylegan.StyleGAN(path=path)) == 5
  other = str(tmp_path / 'x-r01.tfrecords')
  assert stylegan.StyleGAN(path=other).shape == (2, 2, 3)


def test_labels_are_one_hot_rows(tmp_path):
  path = write(tmp_path / 'c-r02.tfrecords', map(record, IMAGES))
  labels = tmp_path / 'c-rxx.labels'
  with labels.open('wb') as file:
    np.save(file, np.eye(10, dtype=np.float32)[[3, 0, 9, 3, 1]])
  found = stylegan.StyleGAN(path=path, labels=str(labels))
  assert [int(found[i]['label']) for i in range(5)] == [3, 0, 9, 3, 1]
  assert found.num_classes == 10
  assert found[0]['label'].dtype == np.int32
  assert found.fingerprint() != stylegan.StyleGAN(path=path).fingerprint()


@pytest.mark.parametrize(
  'rows', [np.eye(4), np.ones((5, 3)), np.arange(5), np.full((5, 2), 0.5)]
)
def test_bad_labels_are_named(tmp_path, rows):
  path = write(tmp_path / 'c-r02.tfrecords', map(record, IMAGES))
  np.save(tmp_path / 'labels.npy', rows)
  found = stylegan.StyleGAN(path=path, labels=str(tmp_path / 'labels.npy'))
  with pytest.raises(errors.DataError, match=r'labels\.npy is .* one-hot'):
    found[0]


@pytest.mark.parametrize(
  ('payload', 'reason'),
  [
    (encode((3, 4, 5), bytes(72)), r'\[3, 4, 5\] and 72 bytes'),
    (encode((4, 6), bytes(24)), r'\[4, 6\] and 24 bytes'),
    (encode((-1, 4, 6), bytes(72)), r'\[-1, 4, 6\]'),
    (encode((3, 4, 6), bytes(72), ('height', 'image')), r'\[\] and 0 bytes'),
    (b'\xff\xff', 'no tf.train.Example'),
  ],
)
def test_bad_records_are_named(tmp_path, payload, reason):
  path = write(tmp_path / 'a.tfrecords', [payload])
  with pytest.raises(errors.DataError, match=reason) as e:
    stylegan.StyleGAN(path=path)[0]
  assert '\n' not in str(e.value)


def test_one_file_has_one_shape(tmp_path):
  records = [record(IMAGES[0]), record(IMAGES[1, :2])]
  path = write(tmp_path / 'a.tfrecords', records)
  with pytest.raises(errors.DataError, match=r'\[1\] has the shape \(2, 6, 3'):
    stylegan.StyleGAN(path=path)[1]


def test_missing_unindexed_and_truncated_files_are_named(tmp_path):
  path = tmp_path / 'a.tfrecords'
  with pytest.raises(errors.DataError, match='is no file'):
    len(stylegan.StyleGAN(path=str(path)))
  write(path, map(record, IMAGES), index=False)
  with pytest.raises(errors.DataError, match='difjax data index'):
    len(stylegan.StyleGAN(path=str(path)))
  tfrecord.write_index(str(tmp_path))
  path.write_bytes(path.read_bytes()[:-7])
  with pytest.raises(errors.DataError, match=r'a\.tfrecords has changed'):
    len(stylegan.StyleGAN(path=str(path)))
  write(path, [], index=True)
  with pytest.raises(errors.DataError, match='holds no images'):
    len(stylegan.StyleGAN(path=str(path)))
