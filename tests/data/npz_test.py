import numpy as np
import pytest

from difjax import errors
from difjax.data import npz

IMAGES = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)


def write(path, *args, **kwargs):
  np.savez(path, *args, **kwargs)
  return str(path)


def test_reads_images_and_labels(tmp_path):
  batch = npz.Npz(path=write(tmp_path / 'a.npz', IMAGES, np.array([2, 0, 1])))
  np.testing.assert_array_equal(batch.arrays['image'], IMAGES)
  assert batch.arrays['label'].tolist() == [2, 0, 1]
  assert batch[0]['label'].dtype == np.int32
  assert batch.num_classes == 3


def test_labels_may_be_absent_and_keys_differ(tmp_path):
  path = write(tmp_path / 'a.npz', samples=IMAGES)
  assert npz.Npz(path=path, image_key='samples').num_classes == 0
  with pytest.raises(errors.DataError, match='it has samples'):
    len(npz.Npz(path=path))


@pytest.mark.parametrize(
  'arrays',
  [
    (IMAGES.astype(np.float32),),
    (IMAGES[0],),
    (IMAGES[:0],),
    (IMAGES, np.zeros(2, int)),
    (IMAGES, np.zeros(3)),
    (np.array([{}, []], dtype=object),),
  ],
)
def test_other_contents_are_refused(tmp_path, arrays):
  with pytest.raises(errors.DataError, match=r'a\.npz'):
    len(npz.Npz(path=write(tmp_path / 'a.npz', *arrays)))


def test_other_files_are_refused(tmp_path):
  path = tmp_path / 'a.npz'
  with pytest.raises(errors.DataError, match='cannot read'):
    len(npz.Npz(path=str(path)))
  np.save(tmp_path / 'a.npy', IMAGES)
  for content in (b'', b'text', (tmp_path / 'a.npy').read_bytes()):
    path.write_bytes(content)
    with pytest.raises(errors.DataError, match='cannot read'):
      len(npz.Npz(path=str(path)))
