"""Safetensors: the format's own rules."""

from __future__ import annotations

import io
import json
import pathlib

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from difjax import errors
from difjax.interop import safetensors_file
from tests.interop import files

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'


def read(header, data=b''):
  """Reads what is made of a header and bytes."""
  return safetensors_file.read(io.BytesIO(files.safetensors(header, data)))


def entry(start, stop, dtype='U8', shape=None):
  """An entry of a header; bytes unless told."""
  shape = [stop - start] if shape is None else shape
  return dict(dtype=dtype, shape=shape, data_offsets=[start, stop])


def test_types_and_shapes():
  """The bytes are those of the types, little-endian, row by row."""
  numbers = np.asarray([1.5, -2.0], ml_dtypes.bfloat16)
  data = bytes([0, 1, 2, 3, 4, 5]) + numbers.tobytes() + b'\x01'
  found = read(
    {
      '__metadata__': {'format': 'pt'},
      'b': entry(6, 10, 'BF16', [2, 1]),
      'a': entry(0, 6, 'U8', [2, 3]),
      'scalar': entry(10, 11, 'BOOL', []),
      'none': entry(11, 11, 'F32', [0, 4]),
    },
    data,
  )
  assert set(found) == {'a', 'b', 'scalar', 'none'}
  assert found['a'].tolist() == [[0, 1, 2], [3, 4, 5]]
  assert found['b'].dtype.name == 'bfloat16'
  assert found['b'].astype(float).tolist() == [[1.5], [-2.0]]
  assert found['scalar'].shape == () and found['scalar'].item() is True
  assert found['none'].shape == (0, 4)


@pytest.mark.parametrize(
  ('header', 'named'),
  [
    ({'a': entry(0, 5)}, 'not in the file'),
    ({'a': entry(0, 3)}, 'bytes follow'),
    ({'a': entry(1, 4)}, 'leave a gap'),
    ({'a': entry(0, 3), 'b': entry(2, 4)}, 'overlap'),
    ({'a': entry(0, 4, shape=[5])}, 'not the bytes of its shape'),
    ({'a': entry(0, 4, 'F32', [2**62, 2**3])}, 'not the bytes of its shape'),
    ({'a': entry(0, 4, 'F128')}, "type 'F128'"),
    (b'{"a": 1, "a": 2}', 'a name twice'),
  ],
)
def test_contradictions(header, named):
  with pytest.raises(errors.CheckpointError, match=named):
    read(header, bytes(4))


@pytest.mark.parametrize(
  'header',
  [b'{', b'[]', b'{"a": 1}', b'{"a": {"dtype": "U8"}}', b'[' * 100_000,
   {'a': entry(0, 4, shape=[-4])}, {'a': entry(0, 4, shape=[4.0])}],
)  # fmt: skip
def test_damaged_headers(header, tmp_path):
  """They end in an error that `container` makes a line of."""
  from difjax.interop import container

  file = tmp_path / 'file'
  file.write_bytes(files.safetensors(header, bytes(4)))
  with pytest.raises(errors.CheckpointError):
    container.read(file)


def test_a_header_that_claims_more_than_there_is():
  data = files.safetensors({'a': entry(0, 4)}, bytes(4))
  longer = (10**6).to_bytes(8, 'little') + data[8:]
  with pytest.raises(errors.CheckpointError, match='within its header'):
    safetensors_file.read(io.BytesIO(longer))
  assert not safetensors_file.recognises(b'\xff' * 8 + b'{')


def test_two_formats_of_the_same_weights():
  """A golden of Hugging Face stands in both key layouts."""
  if not SHARED.exists():
    pytest.skip('needs ../shared/golden')
  old, new = (
    safetensors_file.read((SHARED / 'clip' / name).open('rb'))
    for name in (
      'text_encoder/model.safetensors',
      'text_encoder_tf5_keys/model.safetensors',
    )
  )
  shorter = {name.removeprefix('text_model.'): w for name, w in old.items()}
  assert set(shorter) == set(new)
  for name, w in new.items():
    np.testing.assert_array_equal(shorter[name], w)


def written(arrays, remarks=None):
  stream = io.BytesIO()
  safetensors_file.write(stream, arrays, remarks)
  return stream.getvalue()


def test_there_and_back():
  arrays = {
    'b': np.arange(3, dtype=np.uint8),
    'half': np.arange(5).astype(ml_dtypes.bfloat16),
    'turned': np.arange(12.0).reshape(3, 4).T,
    'scalar': np.float32(2.5).reshape(()),
    'none': np.zeros((0, 7), np.int64),
    'jax': jnp.arange(4.0),
  }
  found = safetensors_file.read(io.BytesIO(written(arrays, {'a': 'b'})))
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


def test_the_layout():
  """Numbers after a header that ends at a multiple of 64, the wide ones first.

  Source: https://github.com/huggingface/safetensors, the section on its format.
  """
  data = written({'b': np.uint8([7]), 'a': np.float32([1.0])}, {'step': '3'})
  size = int.from_bytes(data[:8], 'little')
  assert (8 + size) % 64 == 0
  assert data[8:9] == b'{'
  assert json.loads(data[8 : 8 + size]) == {
    '__metadata__': {'step': '3'},
    'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]},
    'b': {'dtype': 'U8', 'shape': [1], 'data_offsets': [4, 5]},
  }
  assert data[8 + size :] == np.float32([1.0]).tobytes() + b'\x07'


def test_types_that_the_format_lacks_are_refused():
  with pytest.raises(ValueError, match='c has the type complex128'):
    written({'c': np.zeros(2, np.complex128)})
