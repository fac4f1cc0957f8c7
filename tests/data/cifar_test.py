import io
import pathlib
import pickle
import tarfile

import numpy as np
import pytest

from difjax import errors
from difjax.data import cifar

ROWS = np.random.default_rng(0).integers(0, 256, (12, 3072), np.uint8)
LABELS = np.arange(12) % 10


def python_files():
  """Pickles as the archive holds them: two train batches and one test."""
  cuts = {'data_batch_1': (0, 5), 'data_batch_2': (5, 9), 'test_batch': (9, 12)}
  return {
    name: pickle.dumps(
      {b'data': ROWS[a:b], b'labels': LABELS[a:b].tolist()}, protocol=2
    )
    for name, (a, b) in cuts.items()
  }


def binary_files():
  rows = np.concatenate([LABELS[:, None].astype(np.uint8), ROWS], axis=1)
  cuts = {'data_batch_1.bin': (0, 5), 'data_batch_2.bin': (5, 9)}
  cuts['test_batch.bin'] = (9, 12)
  return {name: rows[a:b].tobytes() for name, (a, b) in cuts.items()}


def write(root, files, packed):
  """Writes files to a folder, or to a .tar.gz of one."""
  if not packed:
    root.mkdir()
    for name, data in files.items():
      (root / name).write_bytes(data)
    return str(root)
  path = root.with_suffix('.tar.gz')
  with tarfile.open(path, 'w:gz') as tar:
    for name, data in reversed(files.items()):
      member = tarfile.TarInfo(f'cifar-10/{name}')
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
  return str(path)


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('files', [python_files, binary_files])
def test_all_four_layouts(tmp_path, files, packed):
  path = write(tmp_path / 'cifar', files(), packed)
  for split, part in (('train', slice(0, 9)), ('test', slice(9, 12))):
    source = cifar.CifarArchive(path=path, split=split)
    planes = source.arrays['image'].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(planes.reshape(-1, 3072), ROWS[part])
    np.testing.assert_array_equal(source.arrays['label'], LABELS[part])
    assert source.shape == (32, 32, 3)
    assert source[0]['label'].dtype == np.int32
  assert source.num_classes == 10
  assert source.class_names[9] == 'truck'


def test_cifar_100_gives_the_fine_labels(tmp_path):
  fine = LABELS + 50
  batch = {b'data': ROWS, b'coarse_labels': [0] * 12}
  batch[b'fine_labels'] = fine.tolist()
  python = write(tmp_path / 'p', {'train': pickle.dumps(batch)}, False)
  rows = np.concatenate([0 * fine[:, None], fine[:, None], ROWS], axis=1)
  raw = {'train.bin': rows.astype(np.uint8).tobytes()}
  binary = write(tmp_path / 'b', raw, False)
  for path in (python, binary):
    arrays = cifar.CifarArchive(path=path).arrays
    np.testing.assert_array_equal(arrays['label'], fine)
    planes = arrays['image'].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(planes.reshape(-1, 3072), ROWS)


class Evil:
  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


@pytest.mark.parametrize('function', [exec, np.load, pathlib.Path])
def test_pickles_run_no_code(tmp_path, function):
  flag = tmp_path / 'flag'
  argument = f'open({str(flag)!r}, "w")' if function is exec else str(flag)
  data = pickle.dumps({b'data': Evil(function, argument)}, protocol=2)
  path = write(tmp_path / 'cifar', {'data_batch_1': data}, False)
  with pytest.raises(errors.DataError, match='not allowed'):
    len(cifar.CifarArchive(path=path))
  assert not flag.exists()


@pytest.mark.parametrize(
  'files',
  [
    {},
    {'test_batch': b''},
    {'data_batch_1': b''},
    {'data_batch_1': python_files()['data_batch_1'][:-100]},
    {'data_batch_1': pickle.dumps({b'data': ROWS, b'labels': [1]})},
    {'data_batch_1': pickle.dumps([1, 2])},
    {'data_batch_1.bin': b''},
    {'data_batch_1.bin': bytes(3072)},
  ],
)
def test_damage_is_named(tmp_path, files):
  path = write(tmp_path / 'cifar', files, False)
  with pytest.raises(errors.DataError, match=r'cifar'):
    len(cifar.CifarArchive(path=path))


def test_missing_archive_says_where_to_get_it(tmp_path):
  with pytest.raises(errors.DataError, match=r'www\.cs\.toronto\.edu'):
    len(cifar.CifarArchive(path=str(tmp_path / 'absent')))
  (tmp_path / 'cut.tar.gz').write_bytes(b'\x1f\x8b\x08')
  with pytest.raises(errors.DataError, match='not a readable tar'):
    len(cifar.CifarArchive(path=str(tmp_path / 'cut.tar.gz')))
