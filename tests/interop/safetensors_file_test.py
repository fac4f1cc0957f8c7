"""Safetensors: the format's own rules."""

from __future__ import annotations

import io
import pathlib

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
