"""The manifest: every kind of damage to every file is named."""

from __future__ import annotations

import json

import pytest
from etils import epath

from difjax.training import manifest

FILES = {
  'params/d/0f27': bytes(range(256)) * 8,
  'params/_METADATA': b'{"tree": 1}',
  'meta/metadata': b'{"step": 4}',
  'rest/empty': b'',
}
COMMIT = {'commit_success.txt': b'done', '_CHECKPOINT_METADATA': b'{}'}


@pytest.fixture
def folder(tmp_path):
  """A folder that was sealed, then committed."""
  folder = epath.Path(tmp_path) / '4'
  _write(folder, FILES)
  manifest.write(folder)
  _write(folder, COMMIT)
  assert manifest.fault(folder) is None
  return folder


def _write(folder, files):
  for name, data in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


@pytest.mark.parametrize('part', [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize('name', [name for name in FILES if FILES[name]])
def test_a_flipped_bit(name, part, folder):
  data = bytearray(FILES[name])
  data[round(part * (len(data) - 1))] ^= 1 << round(part * 7)
  (folder / name).write_bytes(data)
  assert manifest.fault(folder) == f'{name} has changed since it was written'


@pytest.mark.parametrize('name', [name for name in FILES if FILES[name]])
def test_a_file_cut_short(name, folder):
  (folder / name).write_bytes(FILES[name][:-1])
  assert manifest.fault(folder) == f'{name} has changed since it was written'


@pytest.mark.parametrize('name', [*FILES, *COMMIT])
def test_a_file_deleted(name, folder):
  (folder / name).unlink()
  assert manifest.fault(folder) == f'{name} is missing'


def test_a_file_too_many(folder):
  _write(folder, {'params/d/other': b'1'})
  fault = manifest.fault(folder)
  assert fault == f'params/d/other is not in {manifest.NAME}'


def test_every_bit_of_the_manifest_counts(folder):
  file = folder / manifest.NAME
  whole = file.read_bytes()
  for i in range(len(whole)):
    data = bytearray(whole)
    data[i] ^= 1 << i % 8
    file.write_bytes(data)
    assert manifest.fault(folder), (i, bytes(data))
  file.write_bytes(whole)
  assert manifest.fault(folder) is None


@pytest.mark.parametrize('text', ['', '{', '[]', '{}', 'null', '"x"', '\xff'])
def test_a_manifest_that_says_nothing(text, folder):
  (folder / manifest.NAME).write_bytes(text.encode('latin-1'))
  assert manifest.fault(folder)


def test_a_folder_without_one(folder):
  (folder / manifest.NAME).unlink()
  assert 'was not written to its end' in manifest.fault(folder)


def test_it_appears_whole_or_not_at_all(folder, monkeypatch):
  """A process that dies as it writes leaves none."""

  def fail(self, target):
    raise KeyboardInterrupt

  (folder / manifest.NAME).unlink()
  monkeypatch.setattr(type(folder), 'replace', fail)
  with pytest.raises(KeyboardInterrupt):
    manifest.write(folder)
  assert manifest.fault(folder)
  monkeypatch.undo()
  manifest.write(folder)  # what it left is no part of the folder
  assert manifest.fault(folder) is None
  assert set(json.loads((folder / manifest.NAME).read_text())) == set(FILES)
