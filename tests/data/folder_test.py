import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from difjax import errors
from difjax.data import folder


def picture(value, width=4, height=3):
  return Image.new('RGB', (width, height), (value, value, value))


def fill(root, names, **options):
  """Writes image k filled with 10 k under each name."""
  for k, name in enumerate(names):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    picture(10 * k, **options).save(root / name)


def pack(root, path):
  with zipfile.ZipFile(path, 'w') as file:
    for member in root.rglob('*'):
      if member.is_file():
        file.write(member, member.relative_to(root).as_posix())
  return path


@pytest.mark.parametrize('packed', [False, True])
def test_sub_folders_are_classes(tmp_path, packed):
  root = tmp_path / 'pictures'
  fill(root, ['dog/b.png', 'cat/x/z.bmp', 'dog/a.PNG', 'cat/y.webp'])
  (root / 'cat/notes.txt').write_text('not an image')
  path = pack(root, tmp_path / 'p.zip') if packed else root
  images = folder.ImageFolder(path=str(path))
  assert images.names == ('cat/x/z.bmp', 'cat/y.webp', 'dog/a.PNG', 'dog/b.png')
  assert images.class_names == ('cat', 'dog')
  assert images.num_classes == 2
  assert images.shape == (3, 4, 3)
  assert [int(images[i]['image'][0, 0, 0]) for i in (0, 2, 3)] == [10, 20, 0]
  assert [int(images[i]['label']) for i in range(4)] == [0, 0, 1, 1]
  assert images[0]['label'].dtype == np.int32
  plain = folder.ImageFolder(path=str(path), labels=False)
  assert set(plain[0]) == {'image'}
  assert plain.num_classes == 0


@pytest.mark.parametrize('packed', [False, True])
def test_dataset_json_gives_the_labels(tmp_path, packed):
  root = tmp_path / 'edm'
  fill(root, ['00000/img1.png', '00000/img0.png'])
  pairs = [['00000/img0.png', 6], ['00000/img1.png', 2]]
  (root / 'dataset.json').write_text(json.dumps({'labels': pairs}))
  path = pack(root, tmp_path / 'edm.zip') if packed else root
  images = folder.ImageFolder(path=str(path))
  assert [int(images[i]['label']) for i in range(2)] == [6, 2]
  assert images.num_classes == 7
  assert images.class_names == ()


@pytest.mark.parametrize(
  ('names', 'classes', 'labels'),
  [
    (['w/dog/a.png', 'w/cat/b.png'], ('cat', 'dog'), [0, 1]),
    (['w/a/x/1.png', 'w/a/y/2.png', 'w/b/3.png'], ('a', 'b'), [0, 0, 1]),
    (['one/a.png', 'one/b.png'], (), None),
    (['a.png', 'dog/b.png'], (), None),
  ],
)
def test_classes_are_where_paths_part(tmp_path, names, classes, labels):
  fill(tmp_path, names)
  (tmp_path / '._a.png').write_bytes(b'what macOS adds')
  images = folder.ImageFolder(path=str(tmp_path))
  assert images.class_names == classes
  found = images.take(np.arange(len(names))).get('label')
  assert (found if found is None else found.tolist()) == labels


def test_dataset_json_may_state_no_labels(tmp_path):
  fill(tmp_path, ['00000/a.png'])
  (tmp_path / 'dataset.json').write_text('{"labels": null}')
  assert set(folder.ImageFolder(path=str(tmp_path))[0]) == {'image'}


@pytest.mark.parametrize(
  'text',
  [
    '',
    '[]',
    '{}',
    '{"labels": 3}',
    '{"labels": [["b.png", 0]]}',
    '{"labels": [["a.png", -1]]}',
    '{"labels": [["a.png", [0.5, 0.1]]]}',
  ],
)
def test_bad_dataset_json_is_named(tmp_path, text):
  fill(tmp_path, ['a.png'])
  (tmp_path / 'dataset.json').write_text(text)
  with pytest.raises(errors.DataError, match=r'dataset\.json'):
    folder.ImageFolder(path=str(tmp_path))[0]


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('labels', [False, True])
def test_dataset_json_that_lists_more_than_is_there(tmp_path, packed, labels):
  """Files were lost: what is left is another data set."""
  root = tmp_path / 'edm'
  fill(root, ['00000/a.png', '00000/b.png'])
  pairs = [[f'00000/{name}.png', 0] for name in 'abcd']
  (root / 'dataset.json').write_text(json.dumps({'labels': pairs}))
  path = pack(root, tmp_path / 'edm.zip') if packed else root
  with pytest.raises(errors.DataError, match=r'2 files .* 00000/c\.png'):
    len(folder.ImageFolder(path=str(path), labels=labels))


@pytest.mark.parametrize(
  'text', ['', '{}', '{"labels": [["a.png"]]}', 9999 * '['],
  ids=['empty', 'bare', 'short', 'deep'],
)  # fmt: skip
def test_broken_dataset_json_without_labels(tmp_path, text):
  fill(tmp_path, ['a.png'])
  (tmp_path / 'dataset.json').write_text(text)
  with pytest.raises(errors.DataError, match=r'dataset\.json is broken'):
    folder.ImageFolder(path=str(tmp_path), labels=False)[0]


def test_odd_labels_do_no_harm_where_none_are_read(tmp_path):
  fill(tmp_path, ['a.png', 'b.png'])
  text = '{"labels": [["a.png", [0.5, 0.1]]]}'
  (tmp_path / 'dataset.json').write_text(text)
  assert len(folder.ImageFolder(path=str(tmp_path), labels=False)) == 2
  with pytest.raises(errors.DataError, match='does not label every image'):
    folder.ImageFolder(path=str(tmp_path))[0]


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_members_of_one_name_are_refused(tmp_path):
  fill(tmp_path, ['a.png', 'b.png'])
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
    for name in ('a.png', 'b.png', 'b.png'):
      file.write(tmp_path / name, name)
  with pytest.raises(errors.DataError, match=r"'b\.png' is there more than"):
    len(folder.ImageFolder(path=str(tmp_path / 'a.zip')))


def test_a_member_of_many_bytes_is_not_unpacked(tmp_path):
  """A small zip says that its member has 2 GiB."""
  fill(tmp_path, ['a.png'])
  path = tmp_path / 'a.zip'
  with zipfile.ZipFile(path, 'w') as file:
    file.write(tmp_path / 'a.png', 'a.png')
  data = bytearray(path.read_bytes())
  at = data.rindex(b'PK\x01\x02') + 24  # its size, in the directory
  data[at : at + 4] = (2**31).to_bytes(4, 'little')
  path.write_bytes(data)
  with pytest.raises(errors.DataError, match=r'a\.png has 2147483648 bytes'):
    folder.ImageFolder(path=str(path))[0]


def test_flat_folders_have_no_labels(tmp_path):
  fill(tmp_path, ['b.png', 'a.png'])
  images = folder.ImageFolder(path=str(tmp_path), channels=1)
  assert len(images) == 2
  assert images.shape == (3, 4, 1)
  assert set(images[0]) == {'image'}


def test_different_sizes_need_a_size(tmp_path):
  fill(tmp_path, ['a.png'], width=4, height=3)
  fill(tmp_path, ['b.png'], width=9, height=5)
  with pytest.raises(errors.DataError, match='size=') as e:
    folder.ImageFolder(path=str(tmp_path))[1]
  for part in ('a.png is 4x3', 'b.png is 9x5'):
    assert part in str(e.value)
  images = folder.ImageFolder(path=str(tmp_path), size=2)
  assert images.take(np.arange(2))['image'].shape == (2, 2, 2, 3)


def test_fingerprint_sees_names_sizes_and_decoding(tmp_path):
  fill(tmp_path, ['a/1.png', 'b/2.png'])
  path = str(tmp_path)
  prints = {
    folder.ImageFolder(path=path).fingerprint(),
    folder.ImageFolder(path=path, size=2).fingerprint(),
    folder.ImageFolder(path=path, channels=1).fingerprint(),
    folder.ImageFolder(path=path, labels=False).fingerprint(),
  }
  fill(tmp_path, ['a/3.png'])
  prints.add(folder.ImageFolder(path=path).fingerprint())
  assert len(prints) == 5


def test_missing_empty_and_damaged_are_named(tmp_path):
  with pytest.raises(errors.DataError, match='does not exist'):
    len(folder.ImageFolder(path=str(tmp_path / 'absent')))
  with pytest.raises(errors.DataError, match='no images'):
    len(folder.ImageFolder(path=str(tmp_path)))
  (tmp_path / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n')
  with pytest.raises(errors.DataError, match=r'a\.png: not a readable'):
    folder.ImageFolder(path=str(tmp_path))[0]
  with pytest.raises(errors.DataError, match='neither a folder nor'):
    len(folder.ImageFolder(path=str(tmp_path / 'a.png')))


@pytest.mark.parametrize('name', ['/etc/a.png', '../a.png', 'b/../../a.png'])
def test_members_that_escape_are_refused(tmp_path, name):
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
    file.writestr(name, b'')
  with pytest.raises(errors.DataError, match='outside the zip'):
    len(folder.ImageFolder(path=str(tmp_path / 'a.zip')))


def test_damaged_member_is_named(tmp_path):
  root = tmp_path / 'pictures'
  fill(root, ['a.png'])
  path = pack(root, tmp_path / 'p.zip')
  data = bytearray(path.read_bytes())
  data[60] ^= 1  # a byte of the picture, not of the directory
  path.write_bytes(data)
  with pytest.raises(errors.DataError, match=r'p\.zip/a\.png'):
    folder.ImageFolder(path=str(path))[0]
