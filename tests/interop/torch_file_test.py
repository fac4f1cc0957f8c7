"""PyTorch's files: what torch wrote, and what it never would."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from difjax import errors
from difjax.interop import container
from tests.interop import files

W = np.arange(6, dtype=np.float32).reshape(2, 3)


def read(data, tmp_path):
  """Reads bytes as a file."""
  file = tmp_path / 'checkpoint.pth'
  file.write_bytes(data)
  return container.read(file)


@pytest.fixture(params=['zip.pt', 'legacy.pt'])
def saved(request):
  """What torch 2.13 saved in both of its containers."""
  return container.read(files.GOLDEN / request.param)


def test_tensors_are_those_of_torch(saved):
  """Bit for bit: every type, views by strides, empty, expanded."""
  expected = np.load(files.GOLDEN / 'expected.npz')
  names = set(saved['tensors'])
  assert names == set(expected) - {'conv'} and len(names) == 21
  for name, found in saved['tensors'].items():
    bits = found.view(np.int16) if found.dtype.name == 'bfloat16' else found
    assert bits.dtype == expected[name].dtype, name
    assert bits.shape == expected[name].shape, name
    assert bits.tobytes() == expected[name].tobytes(), name


def test_views_share_memory(saved):
  tensors = saved['tensors']
  for name in ('row', 'block', 'transposed', 'every_other'):
    assert np.shares_memory(tensors['base'], tensors[name]), name


def test_the_rest_of_a_checkpoint(saved):
  del saved['tensors']
  args, array, texts = (saved.pop(k) for k in ('args', 'array', 'texts'))
  np.testing.assert_array_equal(array, np.arange(6.0).reshape(2, 3).T)
  assert array.dtype == np.float32
  assert texts.tolist() == ['a', 'bc']
  assert (args.module, args.name) == ('argparse', 'Namespace')
  assert args.state == {'lr': 0.1, 'model': 'DiT-tiny'}
  assert saved.pop('dtype').name == 'bfloat16'
  assert saved == {
    'step': 12, 'rate': 1e-4, 'name': 'grüße', 'none': None, 'yes': True,
    'big': 2**70, 'bytes': b'\x00\xff', 'list': [1, [2, (3, 4)]],
    'set': {1, 2}, 'size': (2, 3), 'device': 'cuda:1', 'number': 0.25,
    'default': {'a': [1]},
  }  # fmt: skip


@pytest.mark.parametrize('name', ['cuda.pt', 'cuda_legacy.pt'])
def test_storages_of_a_gpu(name):
  found = container.read(files.GOLDEN / name)['w']
  expected = np.load(files.GOLDEN / 'expected.npz')['base'][1:3]
  np.testing.assert_array_equal(found, expected)


def test_persistent_classes_are_objects():
  """As EDM pickles its networks: the class's source is never looked at."""
  found = container.read(files.GOLDEN / 'persistent.pkl')
  expected = np.load(files.GOLDEN / 'expected.npz')
  assert found['step'] == 3
  assert found['ema'].kind == 'EDMPrecond'
  state = found['ema'].state
  np.testing.assert_array_equal(
    state['_parameters']['weight'], expected['base']
  )
  np.testing.assert_array_equal(state['_buffers']['f'], expected['base'][0])
  assert state['sigma'] == 0.5
  inner = state['_modules']['sub'].state['_modules']['conv']
  assert inner.name == 'Conv2d'
  np.testing.assert_array_equal(
    inner.state['_parameters']['weight'], expected['conv']
  )


def claim(count=6, offset=0, sizes=(2, 3), strides=(3, 1), key='0'):
  """A pickle of one tensor that claims so."""
  storage = files.Storage('FloatStorage', key, count)
  return files.pickled({'w': files.Tensor(storage, offset, sizes, strides)})


@pytest.mark.parametrize('pack', [files.archive, files.stream])
@pytest.mark.parametrize(
  ('claims', 'named'),
  [
    (dict(offset=1), 'reaches beyond'),
    (dict(sizes=(3, 3)), 'reaches beyond'),
    (dict(strides=(4, 1)), 'reaches beyond'),
    (dict(offset=-1), 'damaged'),
    (dict(strides=(-3, 1)), 'damaged'),
    (dict(sizes=(-2, 3)), 'damaged'),
    (dict(sizes=(2.0, 3)), 'damaged'),
    (dict(strides=(3,)), 'damaged'),
    (dict(sizes=(10**12,), strides=(0,)), 'repeats'),
    (dict(sizes=(1,) * 70, strides=(1,) * 70), 'damaged'),
    (dict(count=-6), 'damaged'),
    (dict(count=10**12), 'claims'),
    (dict(key='../../etc/passwd'), "'../../etc/passwd'|list of storages"),
    (dict(key='absent'), "'absent'|list of storages"),
  ],
)
def test_claims_that_do_not_hold(pack, claims, named, tmp_path):
  with pytest.raises(errors.CheckpointError, match=named):
    read(pack(claim(**claims), {'0': W.tobytes()}), tmp_path)


def test_the_same_claim_without_the_fault(tmp_path):
  for pack in (files.archive, files.stream):
    found = read(pack(claim(), {'0': W.tobytes()}), tmp_path)
    np.testing.assert_array_equal(found['w'], W)


def test_a_storage_that_is_too_short(tmp_path):
  for pack in (files.archive, files.stream):
    with pytest.raises(errors.CheckpointError, match="storage '0'"):
      read(pack(claim(), {'0': W.tobytes()[:-4]}), tmp_path)


def test_big_endian_is_refused(tmp_path):
  with pytest.raises(errors.CheckpointError, match='big-endian'):
    read(files.archive(b'\x80\x02N.', order='big'), tmp_path)
  with pytest.raises(errors.CheckpointError, match='big-endian'):
    read(files.stream(b'\x80\x02N.', little=False), tmp_path)


def test_torchscript_is_refused(tmp_path):
  data = files.archive(b'\x80\x02N.', members={'made/constants.pkl': b'N.'})
  with pytest.raises(errors.CheckpointError, match='TorchScript'):
    read(data, tmp_path)


def test_members_that_claim_the_same_bytes(tmp_path):
  """A bomb of overlapping members; sizes are counted before any is read."""
  data = bytearray(files.archive(b'\x80\x02N.', {'0': b'x' * 8}))
  place = data.rindex(b'PK\x01\x02', 0, data.rindex(b'made/data/0'))
  data[place + 20 : place + 28] = (2**31).to_bytes(4, 'little') * 2
  with pytest.raises(errors.CheckpointError, match='claim more bytes'):
    read(bytes(data), tmp_path)


def test_a_plain_pickle_refers_to_no_storages(tmp_path):
  tree, _ = files.tensors(w=W)
  with pytest.raises(errors.CheckpointError, match='not in the file'):
    read(files.pickled(tree), tmp_path)


def test_unknown_protocols_are_named(tmp_path):
  data = files.stream(b'\x80\x02N.').replace(
    pickle.dumps(1001, 2), pickle.dumps(1002, 2), 1
  )
  with pytest.raises(errors.CheckpointError, match='1002'):
    read(data, tmp_path)
