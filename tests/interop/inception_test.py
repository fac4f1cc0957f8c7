"""FID's Inception against pytorch-fid and torch-fidelity, random weights."""

from __future__ import annotations

import functools
import pathlib

import numpy as np
import pytest

from difjax import errors
from difjax.interop import feature_files, inception
from difjax.metrics import features, resize
from difjax.metrics import inception as networks

KEPT = pathlib.Path(__file__).parents[1] / 'golden/inception/outputs.npz'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared'
GOLDEN = SHARED / 'golden/inception_fid'
SEED = 82
NAMES = {  # ours, and theirs behind the prefix of the code
  'first': '64', 'second': '192', 'middle': '768', 'pool_3': '2048',
  'unbiased': 'logits_unbiased', 'logits': 'logits', 'spatial': 'spatial7',
}  # fmt: skip
CODES = {'ptfid': resize.PYTORCH_FID, 'tffid': resize.TENSORFLOW}


@functools.cache
def weights():
  """Random weights by the recipe of the official outputs, as they are named."""
  shapes = {}
  for path, (height, width, inputs, outputs) in inception._shapes().items():
    name = path.replace('/', '.')
    if name == 'fc':
      shapes |= {'fc.weight': (outputs, inputs), 'fc.bias': (outputs,)}
      continue
    shapes[f'{name}.conv.weight'] = (outputs, inputs, height, width)
    for part in ('weight', 'bias', 'running_mean', 'running_var'):
      shapes[f'{name}.bn.{part}'] = (outputs,)
  rng = np.random.RandomState(SEED)
  drawn = {name: draw(rng, name, shapes[name]) for name in sorted(shapes)}
  counter = 'Conv2d_1a_3x3.bn.num_batches_tracked'  # as files have them
  return {**drawn, counter: np.zeros((), np.int64)}


def draw(rng, name, shape):
  if name.endswith('running_var'):
    array = rng.uniform(0.5, 1.5, shape)
  elif name.endswith('conv.weight'):
    array = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
  elif name.endswith('bn.weight'):
    array = 1 + 0.1 * rng.standard_normal(shape)
  else:
    factor = 0.02 if name == 'fc.weight' else 0.1
    array = factor * rng.standard_normal(shape)
  return array.astype(np.float32)


def found(arrays):
  return feature_files.Found(
    path=pathlib.Path('weights.pth'), sha256='', arrays=arrays)


def extractor(convention):
  return features.Extractor(
    network=networks.Inception(), params=inception.params(found(weights())),
    convention=convention, size=(299, 299), sha256='', published=False,
    family='inception')


def check(ours, expected, tolerance):
  """Compares activations with official ones by their names."""
  compared = 0
  for name, plain in NAMES.items():
    for theirs in (plain, f'_{plain}'):
      if theirs in expected:
        np.testing.assert_allclose(
          getattr(ours, name), expected[theirs], rtol=0,
          atol=tolerance[theirs], err_msg=theirs)
        compared += 1
  assert compared == len(expected)


@pytest.mark.slow
@pytest.mark.parametrize('code', CODES)
def test_official_activations(code):
  with np.load(KEPT) as file:
    io = {name.removeprefix(code): file[name] for name in file
          if name.startswith((code, 'images'))}
  ours = extractor(CODES[code])(io.pop('images'), lambda found: found, batch=2)
  tolerance = {n.removesuffix('__tolerance'): io.pop(n)
               for n in list(io) if n.endswith('__tolerance')}
  check(ours, io, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('size', ['64x48', '299x299', '320x400'])
def test_official_activations_of_other_sizes(code, size):
  if not GOLDEN.is_dir():
    pytest.skip(f'{GOLDEN} is not there: no official outputs')
  with np.load(GOLDEN / 'io.npz') as file:
    io = {name: file[name] for name in file if f'_{size}' in name}
  images = io[f'img_{size}'].transpose(0, 2, 3, 1)
  ours = extractor(CODES[code])(images, lambda found: found, batch=2)
  expected, tolerance = {}, {}
  for name, exact in io.items():
    if name.startswith(code) and name.endswith('__f64'):
      plain = name.removesuffix('__f64')
      short = plain.removesuffix(f'_{size}').removeprefix(code)
      expected[short] = exact
      tolerance[short] = (
        10 * abs(io[plain] - exact).max() + 2e-6 * abs(exact).max())
  check(ours, expected, tolerance)


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
