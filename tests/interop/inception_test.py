"""FID's Inception against pytorch-fid and torch-fidelity, random weights."""

from __future__ import annotations

import functools
import json
import pathlib

import numpy as np
import pytest

from difjax import errors
from difjax.interop import feature_files, inception
from difjax.metrics import features, resize
from difjax.metrics import inception as networks

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared'
GOLDEN = SHARED / 'golden/inception_fid'
NAMES = {  # ours, and theirs behind the prefix of the code
  'first': '64', 'second': '192', 'middle': '768', 'pool_3': '2048',
  'unbiased': 'logits_unbiased', 'logits': 'logits', 'spatial': '_spatial7',
}  # fmt: skip


def recipe(shapes, seed):
  """Random weights by the recipe in the official outputs' config.json."""
  rng, found = np.random.RandomState(seed), {}
  for name in sorted(shapes):
    shape = tuple(shapes[name])
    if name.endswith('num_batches_tracked'):
      found[name] = np.zeros((), np.int64)
      continue
    if name.endswith('running_var'):
      array = rng.uniform(0.5, 1.5, shape)
    elif name.endswith('conv.weight'):
      array = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
    elif name.endswith('bn.weight'):
      array = 1 + 0.1 * rng.standard_normal(shape)
    else:
      factor = 0.02 if name == 'fc.weight' else 0.1
      array = factor * rng.standard_normal(shape)
    found[name] = array.astype(np.float32)
  return found


@functools.cache
def weights():
  if not GOLDEN.is_dir():
    pytest.skip(f'{GOLDEN} is not there: no official outputs')
  config = json.loads((GOLDEN / 'config.json').read_text())['config']
  return recipe(config['shapes'], config['seed'])


def found(arrays):
  return feature_files.Found(
    path=pathlib.Path('weights.pth'), sha256='', arrays=arrays)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('code', 'convention'),
  [('ptfid', resize.PYTORCH_FID), ('tffid', resize.TENSORFLOW)])
@pytest.mark.parametrize('size', ['32x32', '64x48', '299x299', '320x400'])
def test_official_activations(code, convention, size):
  extractor = features.Extractor(
    network=networks.Inception(), params=inception.params(found(weights())),
    convention=convention, size=(299, 299), sha256='', published=False)
  with np.load(GOLDEN / 'io.npz') as file:
    io = dict(file)
  images = io[f'img_{size}'].transpose(0, 2, 3, 1)
  ours = extractor(images, lambda all_of_them: all_of_them, batch=2)
  compared = 0
  for name, theirs in NAMES.items():
    theirs = f'{code}{theirs}_{size}'
    if name == 'unbiased' and code == 'ptfid':
      theirs = f'{code}_logits_unbiased_{size}'
    if theirs not in io:
      continue
    exact = io[f'{theirs}__f64']
    tolerance = 10 * abs(io[theirs] - exact).max() + 2e-6 * abs(exact).max()
    np.testing.assert_allclose(
      getattr(ours, name), exact, rtol=0, atol=tolerance, err_msg=theirs)
    compared += 1
  assert compared >= 5


def test_a_norm_and_a_convolution_are_one():
  arrays = {
    'c.weight': np.full((2, 1, 1, 1), 3.0), 'n.weight': np.array([2.0, 1.0]),
    'n.bias': np.array([0.5, 0.0]), 'n.running_mean': np.array([1.0, 0.0]),
    'n.running_var': np.array([3.0, 0.0])}
  taken = feature_files.Taken(found(arrays))
  layer = taken.normed('c', 'n', (1, 1, 1, 2), 1.0)
  taken.finish()  # channel 0: (3 x - 1) * 2 / 2 + 0.5, channel 1: 3 x
  np.testing.assert_allclose(layer['kernel'], [[[[3.0, 3.0]]]])
  np.testing.assert_allclose(layer['bias'], [-0.5, 0.0])


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'fc.bias': None}, 'lacks fc.bias'),
    ({'Mixed_5b.branch1x1.bn.bias': None}, 'lacks Mixed_5b.branch1x1.bn.bias'),
    ({'fc.weight': np.zeros((1000, 2048), 'f')}, 'fc.weight is .1000, 2048'),
    ({'AuxLogits.fc.bias': np.zeros(3, 'f')}, 'beyond the network AuxLogits'),
  ],
)  # fmt: skip
def test_another_network_is_refused(change, message):
  arrays = {**weights(), **change}
  arrays = {n: a for n, a in arrays.items() if a is not None}
  with pytest.raises(errors.CheckpointError, match=message):
    inception.params(found(arrays))


def test_missing_weights_say_where_to_get_them(monkeypatch, tmp_path):
  monkeypatch.setenv(feature_files.FOLDER, str(tmp_path))
  with pytest.raises(errors.DataError, match=r'fetch https://github\.com') as e:
    inception.load()
  assert str(tmp_path / inception.WEIGHTS.file) in str(e.value)
  assert '\n' not in str(e.value)


def test_a_file_of_that_name_with_other_bytes_is_refused(monkeypatch, tmp_path):
  monkeypatch.setenv(feature_files.FOLDER, str(tmp_path))
  (tmp_path / inception.WEIGHTS.file).write_bytes(b'something else')
  with pytest.raises(errors.CheckpointError, match='not the published file'):
    inception.load()
