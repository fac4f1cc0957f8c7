import numpy as np
import pytest
from PIL import Image

from difjax import errors
from difjax.data import folder, prepare, tfds

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
NAMES = ('ant/0.png', 'ant/1.bmp', 'bee/2.png', 'bee/3.png', 'cat/4.png')


@pytest.fixture
def pictures(tmp_path):
  for name, pixels in zip(NAMES, PIXELS, strict=True):
    path = tmp_path / 'pictures' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
  return str(tmp_path / 'pictures')


def test_tfds_reads_back_what_was_written(pictures, tmp_path, monkeypatch):
  # Several shards and several chunks, the last one of each not full.
  monkeypatch.setattr(prepare, 'SHARD', 3)
  monkeypatch.setattr(prepare, 'CHUNK', 2)
  source = folder.ImageFolder(path=pictures)
  path = prepare.prepare(source, str(tmp_path / 'out'), 'bugs')
  assert path == tmp_path / 'out/bugs/1.0.0'
  bugs = tfds.Tfds(name='bugs', data_dir=str(tmp_path / 'out'))
  taken = bugs.take(np.arange(len(bugs)))
  np.testing.assert_array_equal(taken['image'], PIXELS)
  assert taken['label'].tolist() == [0, 0, 1, 1, 2]
  assert bugs.class_names == ('ant', 'bee', 'cat')
  assert bugs.encoded(0)[1] == source.encoded(0)[1]
  assert bugs.fingerprint() == bugs.fingerprint()


def test_crop_channels_and_split_are_applied(pictures, tmp_path):
  source = folder.ImageFolder(path=pictures, size=2, channels=1, labels=False)
  prepare.prepare(source, str(tmp_path), 'small', split='test')
  small = tfds.Tfds(
    name='small',
    data_dir=str(tmp_path),
    split='test',
    channels=1,
    label_key=None,
  )
  taken = small.take(np.arange(len(small)))
  np.testing.assert_array_equal(
    taken['image'], source.take(np.arange(5))['image']
  )
  assert set(taken) == {'image'}


def test_damaged_images_leave_no_data_set(pictures, tmp_path):
  (tmp_path / 'pictures/bee/2.png').write_bytes(b'no image')
  source = folder.ImageFolder(path=pictures)
  with pytest.raises(errors.DataError, match=r'bee/2\.png'):
    prepare.prepare(source, str(tmp_path / 'out'), 'bugs')
  with pytest.raises(errors.DataError, match='not prepared'):
    len(tfds.Tfds(name='bugs', data_dir=str(tmp_path / 'out')))
  Image.fromarray(PIXELS[2]).save(tmp_path / 'pictures/bee/2.png')
  source = folder.ImageFolder(path=pictures)
  prepare.prepare(source, str(tmp_path / 'out'), 'bugs')
  assert len(tfds.Tfds(name='bugs', data_dir=str(tmp_path / 'out'))) == 5


def test_names_must_be_usable_and_free(pictures, tmp_path):
  source = folder.ImageFolder(path=pictures)
  for name in ('', 'Bugs', '../bugs', '3d'):
    with pytest.raises(errors.DataError, match='--name'):
      prepare.prepare(source, str(tmp_path), name)
  (tmp_path / 'bugs/1.0.0').mkdir(parents=True)
  with pytest.raises(errors.DataError, match='exists'):
    prepare.prepare(source, str(tmp_path), 'bugs')
