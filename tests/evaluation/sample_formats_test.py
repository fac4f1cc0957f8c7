"""Every format is read back by the tool that it is for, or as its page says."""

from __future__ import annotations

import io
import json
import pathlib
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from difjax import data, errors
from difjax.evaluation import sample_formats, sample_set
from tests.evaluation import drawn_sets

INDICES = np.arange(5, 28)
PIXELS = np.stack([drawn_sets.pixels(i, (6, 6, 3)) for i in INDICES])


def write(samples, name):
  sample_formats.write(samples, [name])
  return sample_formats.paths(samples, [name])[name]


@pytest.fixture
def samples(tmp_path):
  return drawn_sets.whole(tmp_path / 'out')


@pytest.fixture
def bare(tmp_path):
  """Without labels."""
  return drawn_sets.whole(tmp_path / 'bare', classes=0)


def test_npz_is_what_numpy_saves(samples, tmp_path):
  path = write(samples, 'npz')
  with np.load(path, allow_pickle=False) as found:
    assert found.files == ['arr_0', 'arr_1']  # as ADM's evaluator asks
    np.testing.assert_array_equal(found['arr_0'], PIXELS)
    assert found['arr_1'].dtype == np.int64
    np.testing.assert_array_equal(found['arr_1'], INDICES % 10)
  np.savez(tmp_path / 'numpy.npz', PIXELS, INDICES % 10)
  ours, numpys = (zipfile.ZipFile(p) for p in (path, tmp_path / 'numpy.npz'))
  for name in ('arr_0.npy', 'arr_1.npy'):
    assert ours.read(name) == numpys.read(name)
  assert ours.infolist()[0].compress_type == zipfile.ZIP_STORED


def test_adm_evaluators_reader(samples):
  """It reads a member's header and then batches, without np.load."""
  file = zipfile.ZipFile(write(samples, 'npz'))
  with file, file.open('arr_0.npy') as member:
    assert np.lib.format.read_magic(member) == (1, 0)
    shape, order, dtype = np.lib.format.read_array_header_1_0(member)
    rest = member.read()
  assert (shape, order, dtype) == (PIXELS.shape, False, np.uint8)
  np.testing.assert_array_equal(
    np.frombuffer(rest, dtype).reshape(shape), PIXELS
  )


def test_npz_of_no_labels(bare):
  source = data.Npz(path=str(write(bare, 'npz')))
  assert source.num_classes == 0
  np.testing.assert_array_equal(source.arrays['image'], PIXELS)


@pytest.mark.parametrize(('name', 'pattern', 'mode'), [
  ('png', 'png/*', 'RGB'), ('webp', 'webp/*', 'RGB'),
])  # fmt: skip
def test_plain_folders(samples, name, pattern, mode):
  write(samples, name)
  found = sorted(samples.folder.glob(pattern))
  assert [path.stem for path in found] == [f'{i:06d}' for i in INDICES]
  for path, pixels in zip(found, PIXELS, strict=True):
    with Image.open(path) as picture:
      assert picture.mode == mode
      np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize('channels', [1, 4])
@pytest.mark.parametrize('name', ['png', 'webp', 'edm', 'zip', 'tar'])
def test_grey_and_transparent_images(tmp_path, name, channels):
  samples = drawn_sets.whole(tmp_path / 'out', num=3, channels=channels)
  path = write(samples, name)
  if name == 'tar':
    source = data.Shards(path=str(path), channels=channels)
  else:
    source = data.ImageFolder(path=str(path), channels=channels)
  expected = np.stack([
    drawn_sets.pixels(i, (6, 6, channels)) for i in INDICES[:3]
  ])
  np.testing.assert_array_equal(source.take(range(3))['image'], expected)


def test_a_grid_of_the_first_hundred(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'out', num=130, size=50, first=0)
  with Image.open(write(samples, 'grid')) as picture:
    assert picture.size == (10 * (72 + 2) + 2,) * 2


def test_edm_folders_are_seeds(tmp_path):
  """`{seed - seed % 1000:06d}/{seed:06d}.png`, as its generate.py has them."""
  samples = drawn_sets.whole(tmp_path / 'out', first=998, num=4)
  path = write(samples, 'edm')
  names = sorted(p.relative_to(path).as_posix() for p in path.rglob('*.png'))
  assert names == [
    '000000/000998.png', '000000/000999.png', '001000/001000.png',
    '001000/001001.png',
  ]  # fmt: skip
  with Image.open(path / '001000' / '001001.png') as picture:
    np.testing.assert_array_equal(
      np.asarray(picture), drawn_sets.pixels(1001, (6, 6, 3))
    )


class EdmZip:
  """Reads a zip as the page of EDM's `ImageFolderDataset` says.

  Images are the members with an ending that Pillow knows, sorted; labels are
  looked up by their names in dataset.json, and are whole numbers.
  """

  def __init__(self, path):
    self.file = zipfile.ZipFile(path)
    Image.init()
    self.names = sorted(
      name for name in self.file.namelist()
      if pathlib.PurePosixPath(name).suffix.lower() in Image.EXTENSION
    )  # fmt: skip
    labels = json.loads(self.file.read('dataset.json'))['labels']
    self.labels = None
    if labels is not None:
      self.labels = np.array([dict(labels)[name] for name in self.names])

  def image(self, i):
    """CHW, as there."""
    data = io.BytesIO(self.file.read(self.names[i]))
    return np.array(Image.open(data)).transpose(2, 0, 1)


def test_edm_zip(samples):
  path = write(samples, 'zip')
  found = EdmZip(path)
  assert found.labels.dtype.kind == 'i'
  np.testing.assert_array_equal(found.labels, INDICES % 10)
  for i, pixels in enumerate(PIXELS):
    np.testing.assert_array_equal(found.image(i), pixels.transpose(2, 0, 1))
  ours = data.ImageFolder(path=str(path)).take(range(23))
  np.testing.assert_array_equal(ours['image'], PIXELS)
  np.testing.assert_array_equal(ours['label'], INDICES % 10)


def test_edm_zip_of_no_labels(bare):
  assert EdmZip(write(bare, 'zip')).labels is None


def test_score_sde_rounds(samples):
  """A file a round, key `samples`, as its evaluation globs and stacks them."""
  path = write(samples, 'score_sde')
  found = []
  for i in range(6):
    with np.load(path / f'samples_{i}.npz') as stats:
      assert stats.files == ['samples']
      found.append(stats['samples'])
  assert len(list(path.iterdir())) == 6
  np.testing.assert_array_equal(np.concatenate(found), PIXELS)


def test_tars(samples, monkeypatch):
  monkeypatch.setattr(sample_formats, '_TAR', 10)
  path = write(samples, 'tar')
  source = data.Shards(path=str(path), label='cls', classes=10)
  assert source.chunks == (10, 10, 3)
  found = source.take(range(23))
  np.testing.assert_array_equal(found['image'], PIXELS)
  np.testing.assert_array_equal(found['label'], INDICES % 10)
  with tarfile.open(path / '00002.tar') as file:  # by webdataset's grouping
    assert file.getnames() == [
      f'{i:06d}.{kind}' for i in (25, 26, 27) for kind in ('png', 'cls')
    ]
    assert file.extractfile('000026.cls').read() == b'6'


def test_webdataset_reads_tars(samples):
  wds = pytest.importorskip('webdataset', reason='needs webdataset')
  shard = str(write(samples, 'tar') / '00000.tar')
  rows = wds.WebDataset(shard, shardshuffle=False).decode('rgb8')
  found = list(rows.to_tuple('png', 'cls'))
  np.testing.assert_array_equal([image for image, _ in found], PIXELS)
  assert [label for _, label in found] == (INDICES % 10).tolist()


def test_tars_of_no_labels(bare):
  source = data.Shards(path=str(write(bare, 'tar')))
  np.testing.assert_array_equal(source.take(range(23))['image'], PIXELS)


@pytest.mark.parametrize('labelled', [True, False])
def test_tfds_reads_it(samples, bare, labelled):
  import tensorflow_datasets as tfds

  found = samples if labelled else bare
  path = write(found, 'tfds')
  source = tfds.data_source('samples', data_dir=str(path), split='train')
  assert len(source) == 23
  np.testing.assert_array_equal([row['image'] for row in source], PIXELS)
  if labelled:
    assert [row['label'] for row in source] == (INDICES % 10).tolist()
  else:
    assert set(source[0]) == {'image'}


def test_array_record_files(samples):
  from array_record.python import array_record_data_source

  path = write(samples, 'tfds')
  files = [str(p) for p in path.rglob('*.array_record*')]
  assert len(array_record_data_source.ArrayRecordDataSource(files)) == 23


@pytest.mark.parametrize(
  'name', ['npz', 'zip', 'tar', 'edm', 'png', 'webp', 'score_sde']
)
def test_bytes_follow_from_the_set_alone(samples, tmp_path, name):
  """Drawn in another order, by other blocks, later: the same files."""
  size = samples.size if name == 'score_sde' else 9
  other = drawn_sets.whole(tmp_path / 'other', size=size)
  trees = []
  for each in (samples, other):
    path = write(each, name)
    paths = sorted(p for p in [path, *path.rglob('*')] if p.is_file())
    trees.append({
      str(p.relative_to(each.folder)): p.read_bytes()
      for p in paths if p.name != 'difjax_tars.npz'  # has times of files
    })  # fmt: skip
  assert trees[0] == trees[1]


@pytest.mark.parametrize('name', sample_formats.NAMED)
def test_what_fails_leaves_nothing(samples, name):
  """A damaged block, then a mended one: the same call writes the format."""
  broken = {'grid': 2}.get(name, 5)
  file = samples.folder / 'blocks' / f'{broken:06d}.npz'
  sound = file.read_bytes()
  file.write_bytes(b'no block')
  path = sample_formats.paths(samples, [name])[name]
  with pytest.raises(errors.DataError, match=f'{broken:06d}'):
    sample_formats.write(samples, [name])
  assert sample_formats.missing(samples, [name]) == {name: path}
  assert not list(samples.folder.rglob('.*'))
  file.write_bytes(sound)
  assert write(samples, name).exists()


def tree(folder):
  """Content by name, hidden files too; an index of tars has times of files."""
  return {
    str(p.relative_to(folder)): p.name == 'difjax_tars.npz' or p.read_bytes()
    for p in folder.rglob('*') if p.is_file()
  }  # fmt: skip


@pytest.mark.parametrize('name', sample_formats.NAMED)
def test_two_that_write_at_once(samples, name, tmp_path, monkeypatch):
  """One begins and is done while another has written half of the blocks."""
  alone = drawn_sets.whole(tmp_path / 'alone')
  write(alone, name)
  read, left = sample_set.SampleSet.read, [3]  # the block to stop at

  def interrupted(self, block):
    if block in left:
      left.remove(block)
      write(self, name)
      assert tree(self.folder).keys() >= tree(alone.folder).keys()
    return read(self, block)

  with monkeypatch.context() as patch:
    patch.setattr(sample_set.SampleSet, 'read', interrupted)
    write(samples, name)
  assert not left
  assert tree(samples.folder) == tree(alone.folder)


def test_the_later_of_two_gives_way(tmp_path):
  """The first to begin is done first; the other's path is gone by then."""
  out = tmp_path / 'edm'
  both = [sample_formats._renamed(out) for _ in range(2)]
  early, late = (each.__enter__() for each in both)
  for partial in (early, late):
    partial.mkdir()
    (partial / '0').write_text('0')
  (early / '1').write_text('1')
  both[0].__exit__(None, None, None)
  assert tree(out) == {'0': b'0', '1': b'1'}
  with pytest.raises(FileNotFoundError) as gone:
    (late / '1').write_text('1')
  assert both[1].__exit__(gone.type, gone.value, gone.tb)
  assert [path.name for path in tmp_path.iterdir()] == ['edm']
  assert tree(out) == {'0': b'0', '1': b'1'}


def test_a_disk_that_fails_is_told(samples, monkeypatch):
  def full(image):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(sample_formats.plots, 'png', full)
  for name in ('png', 'grid', 'edm', 'zip', 'tar'):
    with pytest.raises(OSError, match='No space left'):
      sample_formats.write(samples, [name])
  assert [path.name for path in samples.folder.iterdir()] == ['blocks']


def test_what_was_killed_leaves_nothing_for_long(samples):
  for name in ('.png.0123456789ab', '.tfds.0123456789ab'):
    (samples.folder / name / 'deeper').mkdir(parents=True)
  (samples.folder / '.grid.png.0123456789ab').write_bytes(b'half a grid')
  sample_formats.write(samples, ['png', 'grid', 'tfds'])
  assert not list(samples.folder.glob('.*'))


def test_score_sde_beside_statistics(samples):
  """A folder that others made, or left unfinished, is no sign of samples."""
  folder = samples.folder / 'score_sde'
  folder.mkdir()
  (folder / 'statistics_0.npz').write_bytes(b'statistics')
  (folder / 'samples_5.npz').write_bytes(b'of a writer that was killed')
  assert [*sample_formats.missing(samples, ['score_sde'])] == ['score_sde']
  write(samples, 'score_sde')
  assert sample_formats.missing(samples, ['score_sde']) == {}
  found = [np.load(folder / f'samples_{i}.npz')['samples'] for i in range(6)]
  np.testing.assert_array_equal(np.concatenate(found), PIXELS)
  assert (folder / 'statistics_0.npz').read_bytes() == b'statistics'


def test_formats_are_checked_before():
  with pytest.raises(errors.ConfigError, match="no format 'jpeg'; there are:"):
    sample_formats.check(['png', 'jpeg'], 3)
  with pytest.raises(errors.ConfigError, match='use --formats=npz'):
    sample_formats.check(['npz', 'zip'], 2)
  sample_formats.check(['npz', 'score_sde'], 2)


def test_a_set_that_was_opened_again(samples):
  found = sample_set.load(samples.folder)
  with np.load(write(found, 'npz')) as arrays:
    np.testing.assert_array_equal(arrays['arr_0'], PIXELS)
