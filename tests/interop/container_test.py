"""Containers: told by their bytes, and refused in one line when off."""

from __future__ import annotations

import pathlib
import pickle
import subprocess
import zipfile

import flax.serialization
import numpy as np
import pytest

from difjax import errors
from difjax.interop import container
from tests.interop import files

W = np.arange(6, dtype=np.float32).reshape(2, 3)
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'


def good():
  """A readable file of every container that holds W as `w`."""
  tree, storages = files.tensors(w=W)
  entry = dict(dtype='F32', shape=[2, 3], data_offsets=[0, 24])
  return {
    'zip': files.archive(files.pickled(tree), storages),
    'stream': files.stream(files.pickled(tree), storages),
    'pickle': pickle.dumps({'w': W}),
    'old pickle': pickle.dumps({'w': W}, 0),
    'safetensors': files.safetensors({'w': entry}, W.tobytes()),
    'msgpack': flax.serialization.msgpack_serialize({'w': W}),
  }


def refusal(path):
  """The one line that a file is refused with."""
  with pytest.raises(errors.CheckpointError) as caught:
    container.read(path)
  assert caught.value.exit_code == 5
  line = str(caught.value)
  assert line.startswith(f'{path}') and len(line.splitlines()) == 1
  return line


@pytest.mark.parametrize('kind', good())
def test_the_bytes_tell_the_container(kind, tmp_path):
  """The name says nothing, as of a zip that is called .safetensors."""
  file = tmp_path / 'checkpoint.safetensors'
  file.write_bytes(good()[kind])
  np.testing.assert_array_equal(container.read(file)['w'], W)


@pytest.mark.parametrize('kind', good())
def test_truncated(kind, tmp_path):
  """Wherever a file is cut."""
  whole = good()[kind]
  file = tmp_path / 'cut'
  cuts = {1, 2, 9, 17, len(whole) // 3, len(whole) // 2, len(whole) - 1}
  for cut in sorted(cuts):
    file.write_bytes(whole[:cut])
    refusal(file)


def test_truncated_everywhere(tmp_path):
  """The two containers of torch, cut at every byte."""
  file = tmp_path / 'cut'
  for kind in ('zip', 'stream'):
    whole = good()[kind]
    for cut in range(len(whole)):
      file.write_bytes(whole[:cut])
      refusal(file)


def attacks(canary):
  """Every container with a pickle inside that would run a command."""
  evil = files.attack(canary)
  nested = pickle.dumps(evil)[2:-1]  # the bytes of it, as a literal
  inner = b'\x80\x04ctorch.storage\n_load_from_bytes\n(' + nested + b'tR.'
  return {
    'zip': files.archive(evil),
    'stream': files.stream(evil),
    'magic': evil + files.stream(b'N.'),
    'keys': files.stream(b'N.').replace(pickle.dumps([], 2), evil),
    'pickle': evil,
    'old pickle': pickle.dumps(
      files.Run(subprocess.getoutput, f'touch {canary}'), 0
    ),
    'in a pickle': inner,
    'in a zip': files.archive(inner),
  }


def test_the_attack_works_on_python(tmp_path):
  """So that its failure below means something."""
  pickle.loads(files.attack(tmp_path / 'canary'))
  assert (tmp_path / 'canary').exists()


@pytest.mark.parametrize('kind', attacks(''))
def test_no_container_runs_anything(kind, tmp_path):
  canary = tmp_path / 'canary'
  file = tmp_path / 'checkpoint.pth'
  file.write_bytes(attacks(canary)[kind])
  line = refusal(file)
  assert 'could run code: refused' in line
  assert any(name in line for name in ('system', 'getoutput'))
  assert [path.name for path in tmp_path.iterdir()] == ['checkpoint.pth']


@pytest.mark.parametrize(
  ('data', 'named'),
  [
    (b'', 'no checkpoint that difjax knows (0 bytes'),
    (b'\x89PNG\r\n\x1a\n' + bytes(40), 'no checkpoint that difjax knows'),
    (b'{"json": 1}', 'no checkpoint that difjax knows'),
    (b'PK\x03\x04' + bytes(60), 'damaged or cut short'),
    (b'\x80\x02.', 'damaged or cut short'),
  ],
)
def test_no_checkpoint(data, named, tmp_path):
  file = tmp_path / 'checkpoint.pth'
  file.write_bytes(data)
  assert named in refusal(file)


def test_no_file(tmp_path):
  assert 'No such file' in refusal(tmp_path / 'absent.pth')
  assert 'directory' in refusal(tmp_path)


def test_a_zip_of_something_else(tmp_path):
  file = tmp_path / 'arrays.npz'
  np.savez(file, w=W)
  assert 'without one data.pkl' in refusal(file)


@pytest.mark.parametrize(
  'name',
  ['../escaped', '/escaped', 'a/../../escaped', 'C:\\escaped', '\\\\h\\s'],
)
def test_escaping_members(name, tmp_path):
  tree, storages = files.tensors(w=W)
  data = files.archive(files.pickled(tree), storages, {name: b'x'})
  file = tmp_path / 'inside' / 'checkpoint.pth'
  file.parent.mkdir()
  file.write_bytes(data)
  assert 'outside the archive' in refusal(file)
  assert [path.name for path in tmp_path.iterdir()] == ['inside']


def test_compressed_members_are_bombs(tmp_path):
  file = tmp_path / 'checkpoint.pth'
  bomb = {'0': bytes(10_000_000)}
  file.write_bytes(
    files.archive(b'\x80\x02N.', bomb, compress=zipfile.ZIP_DEFLATED)
  )
  assert file.stat().st_size < 20_000
  assert 'is compressed' in refusal(file)


@pytest.mark.skipif(not SHARED.exists(), reason='needs ../shared/golden')
def test_every_golden_checkpoint_is_read():
  """Their tensors are compared with torch's outside: see the README there."""
  found = [
    file
    for file in SHARED.rglob('*')
    if file.suffix in ('.pt', '.pth', '.pkl', '.safetensors')
  ]
  assert len(found) >= 28
  for file in found:
    assert container.read(file)
