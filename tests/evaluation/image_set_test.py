"""Sets of images are read as they were written, or refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from difjax import data, errors
from difjax.data import tar_index
from difjax.evaluation import (
  feature_nets,
  gathered,
  image_set,
  sample_formats,
)
from tests.evaluation import drawn_sets

INDICES = np.arange(5, 28)
PIXELS = np.stack([drawn_sets.pixels(i, (6, 6, 3)) for i in INDICES])
DIGEST = hashlib.sha256(PIXELS.tobytes()).hexdigest()


def whole(images, size=7):
  return np.concatenate([*images.batches(size)])


def png(path, image):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image.squeeze()).save(path)


@pytest.mark.parametrize(
  'name', ['npz', 'zip', 'webp', 'edm', 'score_sde', 'tar']
)
def test_what_difjax_writes_is_read_back(name, tmp_path):
  samples = drawn_sets.whole(tmp_path / 'out')
  sample_formats.write(samples, [name])
  found = image_set.read(sample_formats.paths(samples, [name])[name])
  assert (len(found), found.shape) == (23, (6, 6, 3))
  np.testing.assert_array_equal(whole(found), PIXELS)
  assert found.fingerprint == DIGEST
  assert found.protocol is None


def test_a_set_of_difjax_has_its_protocol(tmp_path):
  drawn_sets.whole(tmp_path, seed=11)
  found = image_set.read(tmp_path)
  np.testing.assert_array_equal(whole(found), PIXELS)
  assert found.protocol['seed'] == 11
  assert found.protocol['evaluations']['most'] == 3
  assert found.known == found.fingerprint == DIGEST


def test_tfds_is_read_as_a_source(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'out')
  sample_formats.write(samples, ['tfds'])
  place = sample_formats.paths(samples, ['tfds'])['tfds']
  source = data.Tfds(name='samples', data_dir=str(place))
  found = image_set.of_source(source)
  np.testing.assert_array_equal(whole(found), PIXELS)


@pytest.mark.parametrize('size', [1, 5, 23, 100])
def test_batches_of_any_size(size, tmp_path):
  np.savez_compressed(tmp_path / 'a.npz', PIXELS)
  batches = [*image_set.read(tmp_path / 'a.npz').batches(size)]
  assert [*map(len, batches)][:-1] == [size] * (len(batches) - 1)
  np.testing.assert_array_equal(np.concatenate(batches), PIXELS)


def test_rounds_come_by_number(tmp_path):
  for i in range(12):
    np.savez(tmp_path / f'samples_{i}.npz', samples=PIXELS[i : i + 1])
    np.savez(tmp_path / f'statistics_{i}.npz', pool_3=np.zeros((1, 2)))
  found = image_set.read(tmp_path)
  np.testing.assert_array_equal(whole(found), PIXELS[:12])


def test_grey_files_among_others_become_rgb(tmp_path):
  png(tmp_path / 'a' / 'a.png', PIXELS[0])
  png(tmp_path / 'b' / 'c.png', PIXELS[1, ..., :1])
  found = image_set.read(tmp_path)
  np.testing.assert_array_equal(whole(found)[0], PIXELS[0])
  grey = PIXELS[1, ..., :1].repeat(3, axis=-1)
  np.testing.assert_array_equal(whole(found)[1], grey)


def test_grey_sets_stay_grey(tmp_path):
  for i in range(3):
    png(tmp_path / f'{i}.png', PIXELS[i, ..., :1])
  found = image_set.read(tmp_path)
  assert found.shape == (6, 6, 1)
  np.testing.assert_array_equal(whole(found), PIXELS[:3, ..., :1])
  png(tmp_path / '3.png', PIXELS[3])
  with pytest.raises(errors.DataError, match=r'3\.png is in colour'):
    whole(image_set.read(tmp_path))


def test_grey_tars_stay_grey(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'out', channels=1)
  sample_formats.write(samples, ['tar'])
  found = image_set.read(tmp_path / 'out' / 'tar')
  assert found.shape == (6, 6, 1)
  assert found.fingerprint == image_set.read(tmp_path / 'out').fingerprint


def test_tars_with_colour_among_grey_images(tmp_path):
  for i, channels in enumerate((1, 3)):
    png(tmp_path / f'{i}.png', PIXELS[i, ..., :channels])
  with tarfile.open(tmp_path / 'a.tar', 'w') as file:
    for i in range(2):
      file.add(tmp_path / f'{i}.png', f'{i}.png')
  tar_index.write(str(tmp_path))
  refused(tmp_path, 'in colour and its first is grey')


@pytest.mark.parametrize(
  ('files', 'expected'),
  [
    (['0.png', '1.png', 'grid.png', 'webp/2.webp', 'edm/0/3.png'], [0, 1]),
    (['grid.png', 'png/0.png', 'png/1.png', 'webp/2.webp'], [0, 1]),
    (['webp/0.webp', 'edm/0/2.png'], [0]),
    (['edm/0/0.png', 'edm/1000/1.png'], [0, 1]),
    (['cat/0.png', 'png/1.png', 'webp/x/2.webp'], [0, 1, 2]),
    (['grid.png', 'cat/0.png'], [0]),
    (['grid.png'], [9]),
  ],
)
def test_folders_of_several_formats(files, expected, tmp_path):
  for name in files:
    digits = ''.join(filter(str.isdigit, name.split('/')[-1]))
    image = PIXELS[int(digits or 9)]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(tmp_path / name, lossless=True)
  found = image_set.read(tmp_path)
  assert len(found) == len(expected)
  np.testing.assert_array_equal(whole(found), PIXELS[expected])


@pytest.mark.parametrize(('rounds', 'lacks'), [((0, 2), 1), ((1, 2), 0)])
def test_rounds_with_a_gap(rounds, lacks, tmp_path):
  for i in rounds:
    np.savez(tmp_path / f'samples_{i}.npz', samples=PIXELS)
  refused(tmp_path, rf'lacks samples_{lacks}\.npz')


def refused(path, match):
  with pytest.raises(errors.DataError, match=match) as caught:
    whole(image_set.read(path))
  assert '\n' not in str(caught.value)


def test_files_that_are_no_sets(tmp_path):
  refused(tmp_path / 'nothere', 'nothere is not there: give a folder')
  (tmp_path / 'a.txt').write_text('x')
  refused(tmp_path / 'a.txt', 'is no folder')
  refused(tmp_path, 'has no images')
  (tmp_path / 'b').mkdir()
  refused(tmp_path / 'b', 'has no images')


@pytest.mark.parametrize(
  ('arrays', 'match'),
  [
    ({'x': PIXELS, 'y': PIXELS}, 'holds x, y, where arr_0 or samples is'),
    ({'mu': np.zeros(3)}, 'holds mu, where'),
    ({'arr_0': PIXELS / 255}, 'arr_0 is float64 .* not uint8'),
    ({'arr_0': PIXELS[0]}, r'arr_0 is uint8 \(6, 6, 3\)'),
    ({'arr_0': PIXELS[:0]}, r'arr_0 is \(0, 6, 6, 3\): it has no images'),
    ({'arr_0': np.asfortranarray(PIXELS)}, 'the order of Fortran: save numpy'),
    ({'arr_0': PIXELS.transpose(0, 3, 1, 2)}, 'put channels last'),
    ({'arr_0': np.array([None])}, 'arr_0 is object'),
  ],
)
def test_arrays_that_are_no_images(arrays, match, tmp_path):
  np.savez(tmp_path / 'a.npz', **arrays)
  refused(tmp_path / 'a.npz', match)


def test_a_member_that_is_no_array(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as file:
    file.writestr('arr_0', PIXELS.tobytes())
  refused(tmp_path / 'a.npz', 'holds arr_0, where arr_0 or samples is wanted')


@pytest.mark.parametrize(
  ('shape', 'match'),
  [
    ((-1, -1, 6, 3), 'has no images'),
    ((4, -6, -6, 3), 'has no images'),
    ((2, 1 << 40, 1 << 40, 3), 'cannot be read as .npz'),
    ((1 << 70, 6, 6, 3), 'cannot be read as .npz'),
  ],
)
def test_headers_that_lie(shape, match, tmp_path):
  header = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
  with (
    zipfile.ZipFile(tmp_path / 'a.npz', 'w', zipfile.ZIP_DEFLATED) as file,
    file.open('arr_0.npy', 'w') as member,
  ):
    np.lib.format.write_array_header_1_0(member, header)
    member.write(PIXELS.tobytes())
  refused(tmp_path / 'a.npz', match)


def test_sizes_that_are_mixed(tmp_path):
  for i in range(3):
    png(tmp_path / f'{i}.png', PIXELS[i])
  png(tmp_path / '3.png', PIXELS[3, :5])
  png(tmp_path / '4.png', PIXELS[3, :4])
  refused(tmp_path, r'3\.png is 6 x 5 pixels and the first file 6 x 6')


def test_rounds_that_are_mixed(tmp_path):
  np.savez(tmp_path / 'samples_0.npz', samples=PIXELS)
  np.savez(tmp_path / 'samples_1.npz', samples=PIXELS[:, :5])
  refused(tmp_path, r'samples_1\.npz holds images \(5, 6, 3\)')


@pytest.mark.parametrize('kept', [10, 0.5, 0.99])
@pytest.mark.parametrize('packed', [False, True])
def test_an_npz_cut_short(kept, packed, tmp_path):
  save = np.savez_compressed if packed else np.savez
  save(tmp_path / 'a.npz', PIXELS)
  content = (tmp_path / 'a.npz').read_bytes()
  kept = kept if kept > 1 else int(kept * len(content))
  (tmp_path / 'a.npz').write_bytes(content[:kept])
  refused(tmp_path / 'a.npz', r'a\.npz cannot be read')


def test_an_npz_with_a_flipped_byte(tmp_path):
  np.savez(tmp_path / 'a.npz', PIXELS)
  content = bytearray((tmp_path / 'a.npz').read_bytes())
  content[1000] ^= 1
  (tmp_path / 'a.npz').write_bytes(content)
  refused(tmp_path / 'a.npz', 'CRC')


def test_an_image_cut_short(tmp_path):
  png(tmp_path / 'a.png', PIXELS[0])
  png(tmp_path / 'b.png', PIXELS[1])
  content = (tmp_path / 'b.png').read_bytes()
  (tmp_path / 'b.png').write_bytes(content[:-40])
  refused(tmp_path, r'b\.png: not a readable image')


def test_a_zip_cut_short(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'out')
  sample_formats.write(samples, ['zip'])
  content = (tmp_path / 'out' / 'samples.zip').read_bytes()
  (tmp_path / 'a.zip').write_bytes(content[:-30])
  refused(tmp_path / 'a.zip', r'a\.zip is neither a folder nor a readable zip')


@pytest.mark.parametrize('name', ['../a.png', '/a.png', 'b/../../a.png'])
def test_a_zip_that_points_outside(name, tmp_path):
  png(tmp_path / 'a.png', PIXELS[0])
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
    file.write(tmp_path / 'a.png', 'inside.png')
    file.writestr(name, b'x')
  refused(tmp_path / 'a.zip', 'points outside the zip')


def test_a_set_of_difjax_with_gaps(tmp_path):
  samples = drawn_sets.make(tmp_path)
  drawn_sets.fill(samples, most=2)
  refused(tmp_path, 'lacks 4 of 6 blocks: run the command that made it')


def test_blocks_that_changed_places(tmp_path):
  """The manifest's sha256 is not taken on trust."""
  samples = drawn_sets.whole(tmp_path, classes=0)
  one, two = (tmp_path / 'blocks' / f'00000{b}.npz' for b in (2, 3))
  one.write_bytes(two.read_bytes())
  refused(tmp_path, f'holds other images than it did .*not {DIGEST[:8]}')
  found = image_set.read(tmp_path)
  with pytest.raises(errors.DataError, match='other images'):
    gathered.gather(found, feature_nets.Pixels().load())
  samples.write(2, drawn_sets.block(samples, 2))
  assert len(whole(image_set.read(tmp_path))) == 23


def test_a_set_that_changes_between_two_readings(tmp_path):
  np.savez(tmp_path / 'a.npz', PIXELS)
  found = image_set.read(tmp_path / 'a.npz')
  assert found.fingerprint == DIGEST
  np.savez(tmp_path / 'a.npz', PIXELS[::-1])
  with pytest.raises(errors.DataError, match='holds other images'):
    whole(found)


def test_a_reading_is_enough_for_the_fingerprint():
  found = dataclasses.replace(image_set.of_array(PIXELS), parts=lambda: once)
  once = iter([PIXELS])
  gathered.gather(found, feature_nets.Pixels().load())
  assert found.fingerprint == DIGEST


@pytest.mark.parametrize(
  ('count', 'given'), [(22, 'gives more'), (24, 'gives 23')]
)
def test_sets_of_another_number_of_images(count, given):
  found = dataclasses.replace(image_set.of_array(PIXELS), count=count)
  with pytest.raises(errors.DataError, match=given):
    gathered.gather(found, feature_nets.Pixels().load())


def test_a_manifest_that_is_none(tmp_path):
  drawn_sets.whole(tmp_path)
  (tmp_path / 'blocks' / 'manifest.json').write_text(json.dumps({'set': {}}))
  refused(tmp_path, 'no manifest of samples')
