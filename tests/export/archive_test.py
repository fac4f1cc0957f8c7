"""The file of an exported sampler: what reads it, and what is refused."""

from __future__ import annotations

import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from difjax import errors
from difjax.export import archive, stablehlo
from tests.export import files, tables

pytest.importorskip('flatbuffers', reason='pip install flatbuffers')


def saved(file, given, size=64):
  """Writes the file of a model."""
  program = stablehlo.program(
    given, tables.HEUN, batch=size, platforms=['cpu'])
  archive.save(file, given, {'cpu': program}, {'ema': 'main'})
  return file


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  return saved(tmp_path_factory.mktemp('archive') / 'x.difjax', tables.led())


def rewritten(file, out, **members):
  """A copy with other members; None leaves one out."""
  with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, 'w') as new:
    for info in old.infolist():
      stem = info.filename.partition('.')[0]
      content = members.get(stem, old.read(info))
      if content is not None:
        new.writestr(info, content)
  return out


def test_there_and_back(file):
  given, indices = tables.led(), np.arange(64, dtype=np.int32)
  found = archive.load(file)
  assert found.card['ema'] == 'main'
  assert found.params['model/half'].dtype == jnp.bfloat16
  for name, array in stablehlo.arguments(given).items():
    np.testing.assert_array_equal(found.params[name], array)
  x = jax.jit(
    found.programs['cpu'].call, compiler_options=found.card['xla']['cpu'])(
    found.params, np.uint32(3), indices, indices % 10)
  np.testing.assert_array_equal(
    x, tables.expected(given, tables.HEUN, indices, seed=3))


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED,
                                         zipfile.ZIP_DEFLATED])
def test_the_reader_after_another_zip(file, tmp_path, compression):
  """Types other than float32 too, wherever the members stand."""
  again = tmp_path / 'again.difjax'
  with zipfile.ZipFile(file) as old, zipfile.ZipFile(
    again, 'w', compression) as new:  # fmt: skip
    for name in reversed(old.namelist()):
      new.writestr(name, old.read(name))
  _, found = files.run(again, tmp_path / 'found.npz', seed=3)
  np.testing.assert_array_equal(found, tables.expected(
    tables.led(), tables.HEUN, np.arange(64), seed=3))


def test_numbers_follow_in_the_order_of_the_card(file):
  """And begin at a multiple of 64 in their member."""
  with zipfile.ZipFile(file) as found:
    card = json.loads(found.read('card.json'))
    data = found.read('params.safetensors')
  start = 8 + int.from_bytes(data[:8], 'little')
  assert start % 64 == 0
  assert len(data) - start == sum(p['bytes'] for p in card['params'].values())
  header = json.loads(data[8:start])
  assert [*card['params']] == sorted(
    header, key=lambda name: header[name]['data_offsets'])


@pytest.mark.parametrize(
  ('members', 'named'),
  [
    (dict(card=None), 'card.json'),
    (dict(card=b'{'), 'damaged or cut short'),
    (dict(card=b'[]'), 'damaged or cut short'),
    (dict(card=b'{"format": "x", "version": 9}'), 'export it again'),
    (dict(cpu=None), 'cpu.jax'),
    (dict(cpu=b''), 'damaged or cut short'),
    (dict(cpu=b'\x07' * 999), 'damaged or cut short'),
    (dict(params=None), 'params.safetensors'),
    (dict(params=b'\x02\0\0\0\0\0\0\0{}'), "as 'mean'; there is nothing"),
    (dict(params=b'\x02'), 'ends within its header'),
  ],
)
def test_malformed(file, members, named, tmp_path):
  spoilt = rewritten(file, tmp_path / 'spoilt.difjax', **members)
  with pytest.raises(errors.CheckpointError, match=named) as raised:
    archive.load(spoilt)
  assert str(raised.value).startswith(f'{spoilt}')
  assert '\n' not in str(raised.value)


def test_another_program(file, tmp_path):
  """Sound in itself, and with other arguments."""
  scalar = jax.ShapeDtypeStruct((), jnp.float32)
  sine = export.export(jax.jit(jnp.sin))(scalar).serialize()
  spoilt = rewritten(file, tmp_path / 'spoilt.difjax', cpu=bytes(sine))
  with pytest.raises(errors.CheckpointError, match='damaged or cut short'):
    archive.load(spoilt)


@pytest.mark.parametrize('size', [0, 100, -100])
def test_cut_short(file, size, tmp_path):
  spoilt = tmp_path / 'spoilt.difjax'
  spoilt.write_bytes(file.read_bytes()[:size])
  with pytest.raises(errors.CheckpointError, match='damaged or cut short'):
    archive.load(spoilt)


def test_a_flipped_bit(file, tmp_path):
  """In the numbers, which nothing else would tell."""
  data = bytearray(file.read_bytes())
  with zipfile.ZipFile(file) as found:
    info = found.getinfo('params.safetensors')
  data[info.header_offset + info.file_size] ^= 1
  (tmp_path / 'x').write_bytes(data)
  with pytest.raises(errors.CheckpointError, match='Bad CRC-32'):
    archive.load(tmp_path / 'x')


def test_no_file(tmp_path):
  with pytest.raises(errors.CheckpointError, match='cannot be read'):
    archive.load(tmp_path / 'x')


def test_what_fails_leaves_the_old_file(file, tmp_path):
  old = tmp_path / 'x.safetensors'
  old.write_bytes(b'old')
  with pytest.raises(ValueError, match='type object'):
    archive.save_parameters(old, {'a': np.array([None])}, {})
  assert [*tmp_path.iterdir()] == [old]
  assert old.read_bytes() == b'old'


@pytest.mark.slow
def test_more_than_two_gigabytes(tmp_path):
  """Beyond what a protocol buffer, and a zip of 32 bits a count, can hold."""
  rng, rows, width = np.random.default_rng(0), 1_000, 380_000
  wide = rng.standard_normal((rows, width), np.float32)
  params = {'wide': wide, 'half': wide.astype(jnp.bfloat16)}
  given = tables.led(rows=rows, width=width, params=params)
  file = saved(tmp_path / 'large.difjax', given)
  assert file.stat().st_size > 2**31
  indices = np.arange(900, 964, dtype=np.int32)
  images = tables.expected(given, tables.HEUN, indices)
  assert np.isfinite(images).all()
  del wide, params, given
  _, found = files.run(
    file, tmp_path / 'found.npz', indices="np.arange(900, 964, dtype='i4')")
  np.testing.assert_array_equal(found, images)
