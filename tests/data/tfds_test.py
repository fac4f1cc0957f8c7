import json
import struct

import numpy as np
import pytest

from difjax import errors
from difjax.data import images, tfds, tfrecord

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 3), np.uint8)
FEATURE = 'tensorflow_datasets.core.features.'


def message(number, payload):
  """A length-delimited protobuf field; every payload here is < 16 KiB."""
  size = len(payload)
  varint = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
  return bytes([number << 3 | 2]) + varint + payload


def serialise(pixels, label):
  """A tf.train.Example of an image and a label below 128."""
  features = {
    b'image': message(1, message(1, images.encode_png(pixels))),
    b'label': message(3, message(1, bytes([label]))),
  }
  entries = (message(1, k) + message(2, v) for k, v in features.items())
  return message(1, b''.join(message(1, entry) for entry in entries))


def write_tree(root, version='1.2.0'):
  """A TFRecord tree of two shards, laid out as tfds 4.9 does."""
  folder = root / 'bugs' / version
  folder.mkdir(parents=True)
  for shard, rows in enumerate((range(0, 4), range(4, 7))):
    with (folder / f'bugs-train.tfrecord-0000{shard}-of-00002').open('wb') as f:
      for row in rows:
        payload = serialise(PIXELS[row], row % 3)
        length = struct.pack('<Q', len(payload))
        crc = struct.pack('<I', tfrecord.masked_crc32c(length))
        f.write(length + crc + payload + bytes(4))
  template = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
  split = {'filepathTemplate': template, 'name': 'train', 'numBytes': '9'}
  info = {
    'fileFormat': 'tfrecord',
    'moduleName': '__main__',
    'name': 'bugs',
    'splits': [{**split, 'shardLengths': ['4', '3']}],
    'version': version,
  }
  shape = {'dimensions': ['6', '6', '3']}
  features = {
    'pythonClassName': FEATURE + 'features_dict.FeaturesDict',
    'featuresDict': {
      'features': {
        'image': {
          'pythonClassName': FEATURE + 'image_feature.Image',
          'image': {'dtype': 'uint8', 'shape': shape},
        },
        'label': {
          'pythonClassName': FEATURE + 'class_label_feature.ClassLabel',
          'classLabel': {'numClasses': '3'},
        },
      }
    },
  }
  (folder / 'dataset_info.json').write_text(json.dumps(info))
  (folder / 'features.json').write_text(json.dumps(features))
  (folder / 'label.labels.txt').write_text('ant\nbee\ncat\n')
  return folder


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  root = tmp_path_factory.mktemp('tfds')
  tfrecord.write_index(str(write_tree(root)))
  return str(root)


def test_reads_a_tfrecord_tree(tree):
  bugs = tfds.Tfds(name='bugs', data_dir=tree)
  assert len(bugs) == 7
  assert bugs.shape == (6, 6, 3)
  assert bugs.class_names == ('ant', 'bee', 'cat')
  assert bugs.num_classes == 3
  taken = bugs.take(np.arange(7))
  np.testing.assert_array_equal(taken['image'], PIXELS)
  assert taken['label'].tolist() == [0, 1, 2, 0, 1, 2, 0]
  assert taken['label'].dtype == np.int32


def test_slices_of_splits(tree):
  part = tfds.Tfds(name='bugs', data_dir=tree, split='train[3:6]')
  taken = part.take(np.arange(len(part)))
  np.testing.assert_array_equal(taken['image'], PIXELS[3:6])
  whole = tfds.Tfds(name='bugs', data_dir=tree)
  assert part.fingerprint() != whole.fingerprint()


def test_crop_and_labels_are_optional(tree):
  bugs = tfds.Tfds(name='bugs', data_dir=tree, size=3, label_key=None)
  assert set(bugs[0]) == {'image'}
  assert bugs.shape == (3, 3, 3)
  assert (bugs.num_classes, bugs.class_names) == (0, ())


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'name': 'cifar10'}, 'tfds build cifar10 --file_format=array_record'),
    ({'version': '9.9.9'}, r'bugs/9\.9\.9 is not prepared'),
    ({'split': 'val'}, "no split 'val', it has train"),
    ({'image_key': 'pixels'}, "no feature 'pixels', it has image, label"),
  ],
)
def test_what_is_absent_is_named(tree, changes, message):
  fields = {'name': 'bugs', 'data_dir': tree} | changes
  with pytest.raises(errors.DataError, match=message):
    tfds.Tfds(**fields)[0]


def test_newest_version_is_read(tmp_path, monkeypatch):
  for version in ('1.9.0', '1.10.0'):
    write_tree(tmp_path, version)
  (tmp_path / 'bugs/incomplete.1.11.0').mkdir()
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert tfds.Tfds(name='bugs').folder.name == '1.10.0'
  assert tfds.Tfds(name='bugs', version='1.9.0').folder.name == '1.9.0'


def test_index_is_asked_for(tmp_path):
  folder = write_tree(tmp_path)
  with pytest.raises(errors.DataError, match=f'difjax data index {folder}'):
    tfds.Tfds(name='bugs', data_dir=str(tmp_path))[0]


def test_features_of_other_packages_are_not_imported(tmp_path):
  folder = write_tree(tmp_path)
  text = (folder / 'features.json').read_text()
  (folder / 'features.json').write_text(
    text.replace(f'{FEATURE}image_feature.Image', 'antigravity.Image')
  )
  with pytest.raises(errors.DataError, match=r'antigravity\.Image'):
    tfds.Tfds(name='bugs', data_dir=str(tmp_path))[0]


@pytest.mark.parametrize('name', ['features.json', 'dataset_info.json'])
def test_damaged_metadata_are_named(tmp_path, name):
  folder = write_tree(tmp_path)
  (folder / name).write_text('{"pythonClassName": ')
  with pytest.raises(errors.DataError, match=r'bugs/1\.2\.0'):
    tfds.Tfds(name='bugs', data_dir=str(tmp_path))[0]
