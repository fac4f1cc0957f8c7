"""Flax's msgpack: what flax.serialization writes, and what it would not."""

from __future__ import annotations

import flax.serialization
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

from difjax import errors
from difjax.interop import container, msgpack_file


def test_what_flax_writes():
  tree = {
    'step': 7,
    'rate': np.float32(0.5),
    'z': 1 + 2j,
    'half': jnp.asarray([1.5, -2], jnp.bfloat16),
    'target': {'Conv_0': {'kernel': np.arange(6.0).reshape(2, 3)}},
    'empty': np.zeros((0, 3), np.int32),
    'text': 'grüße',
    'none': None,
  }  # fmt: skip
  found = msgpack_file.read(flax.serialization.msgpack_serialize(tree))
  assert jax.tree.structure(found) == jax.tree.structure(tree)
  for old, new in zip(
    jax.tree.leaves(tree), jax.tree.leaves(found), strict=True
  ):
    assert np.asarray(old).dtype == np.asarray(new).dtype
    assert np.array_equal(old, new)


def test_arrays_in_chunks(monkeypatch):
  """Flax splits arrays above a gibibyte; here, above 16 bytes."""
  monkeypatch.setattr(flax.serialization, 'MAX_CHUNK_SIZE', 16)
  tree = {'deep': {'w': np.arange(30, dtype=np.float32).reshape(5, 6)}}
  data = flax.serialization.msgpack_serialize(tree)
  assert b'chunked' in data
  found = msgpack_file.read(data)
  np.testing.assert_array_equal(found['deep']['w'], tree['deep']['w'])


def array(sizes, name, numbers, code=1):
  """A file of one array that is spelled so."""
  inner = msgpack.packb((sizes, name, numbers), use_bin_type=True)
  return msgpack.packb({'w': msgpack.ExtType(code, inner)})


@pytest.mark.parametrize(
  'data',
  [
    array([2], 'float32', bytes(4)),
    array([-1], 'float32', bytes(4)),
    array([1], 'object', bytes(8)),
    array([1], 'O', bytes(8)),
    array([1], 'float32,object', bytes(12)),
    array([1], 'nonsense', bytes(4)),
    array([1], 'float32', bytes(4), code=9),
    array([2**62, 2**3], 'float32', b''),
    msgpack.packb({'w': 1}) + b'more',
    b'\x81\xa1w' * 1000 + b'\xc0',
    b'\x81\xa1w' + b'\xdd\xff\xff\xff\xff',
    b'\x81\xa1w' + b'\xc6\xff\xff\xff\xff',
    b'\x81\xa1w' + b'\xdd\x00\x01\x00\x00' * 300,
    msgpack.packb({'w': {'__msgpack_chunked_array__': True}}),
  ],
)
def test_off(data, tmp_path):
  file = tmp_path / 'checkpoint_1'
  file.write_bytes(data)
  with pytest.raises(errors.CheckpointError) as caught:
    container.read(file)
  assert len(str(caught.value).splitlines()) == 1
