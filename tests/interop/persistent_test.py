"""Objects of persistent classes: data, whatever their source text says."""

from __future__ import annotations

import json
import os
import pathlib
import pickle

import numpy as np
import pytest

from difjax import errors
from difjax.interop import container, imported, persistent, records
from tests.interop import files

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'
NAME = files.Name('torch_utils.persistence', '_reconstruct_persistent_obj')
W = np.arange(6, dtype=np.float32).reshape(2, 3)


class Call:
  """Pickles as a call of a name."""

  def __init__(self, name, *args):
    self.name, self.args = name, args


class Built:
  """Pickles as an object whose state is set."""

  def __init__(self, obj, state):
    self.obj, self.state = obj, state


class Pickler(files.Pickler):
  """Writes them."""

  def save(self, obj, save_persistent_id=True):
    if isinstance(obj, Built):
      self.save(obj.obj)
      self.save(obj.state)
      self.write(pickle.BUILD)
    elif isinstance(obj, Call):
      self.save(obj.name)
      self.save(obj.args)
      self.write(pickle.REDUCE)
    else:
      super().save(obj, save_persistent_id)


def module(parameters=(), buffers=(), modules=(), **more):
  """The state of a torch.nn.Module."""
  return dict(
    _parameters=dict(parameters), _buffers=dict(buffers),
    _modules=dict(modules), **more)  # fmt: skip


def persist(state, source='', **more):
  """A pickled object of a persistent class."""
  meta = dict(
    type='class', version=6, module_src=source, class_name='Net', state=state)
  return Call(NAME, {**meta, **more})


def write(path, tree):
  """Pickles a tree into a file."""
  with path.open('wb') as stream:
    Pickler(stream, 4).dump(tree)
  return path


def read(path, tree):
  """What difjax reads of it."""
  return container.read(write(path / 'network.pkl', tree))


def test_arguments_and_state(tmp_path):
  state = module(
    {'w': W}, _init_args=(3,), _init_kwargs={'width': [1, 2]}, epsilon=1e-5)
  found = read(tmp_path, {'ema': persist(state)})['ema']
  assert (found.kind, found.args) == ('Net', (3,))
  assert found.keywords == {'width': [1, 2]}
  assert found.state['epsilon'] == 1e-5
  assert not any('init' in name for name in found.state)


def test_arrays_are_a_state_dict(tmp_path):
  """Nested, with absent parts, and without buffers that are not saved."""
  inner = persist(module({'bias': W[0], 'weight': None}))
  outer = persist(module(
    {'w': W}, {'f': W[1], 'cache': W}, {'inner': inner, 'none': None},
    _non_persistent_buffers_set={'cache'}))
  found = persistent.arrays(read(tmp_path, outer))
  assert set(found) == {'w', 'f', 'inner.bias'}
  np.testing.assert_array_equal(found['w'], W)
  np.testing.assert_array_equal(found['inner.bias'], W[0])


def test_parts_of_torch_are_walked():
  found = container.read(files.GOLDEN / 'persistent.pkl')
  arrays = persistent.arrays(found['ema'])
  expected = np.load(files.GOLDEN / 'expected.npz')
  assert set(arrays) >= {'weight', 'f', 'sub.conv.weight'}
  np.testing.assert_array_equal(arrays['sub.conv.weight'], expected['conv'])


@pytest.mark.parametrize(
  'item', ['edm_ddpmpp', 'edm_ncsnpp', 'edm_vp', 'edm_ve', 'edm_iddpm', 'edm2'])
def test_official_files(item):
  """Sums and norms of every tensor, as torch read them."""
  folder = SHARED / item
  if not folder.is_dir():
    pytest.skip('needs ../shared/golden')
  found = persistent.arrays(
    container.read(folder / 'network-nosrc.pkl')['ema'])
  summary = json.loads((folder / 'state_dict_summary.json').read_text())
  assert found.keys() == summary.keys()
  for name, facts in summary.items():
    array = np.asarray(found[name], np.float64)
    assert list(array.shape) == facts['shape']
    np.testing.assert_allclose(array.sum(), facts['sum'], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(array), facts['l2'], rtol=1e-6)


def test_source_text_is_never_run(tmp_path):
  canary = tmp_path / 'canary'
  source = f'import os\nos.system("touch {canary}")\n'
  state = module(_init_args=(), _init_kwargs={})
  found = read(tmp_path, {'ema': persist(state, source)})['ema']
  assert found.kind == 'Net'
  assert not canary.exists()


def attacks(canary):
  """A command in every place of such a pickle."""
  evil = files.Run(os.system, f'touch {canary}')
  system = files.Name('posix', 'system')
  return {
    'beside': {'ema': persist(module()), 'loss_fn': evil},
    'source': persist(module(), evil),
    'class': persist(module(), class_name=evil),
    'state': persist(evil),
    'keywords': persist(module(_init_kwargs={'width': evil})),
    'parameter': persist(module({'w': evil})),
    'hook': persist(module(_forward_hooks={0: system})),
    'module': persist(module(modules={'a': persist(module({'w': evil}))})),
    'call': Call(system, f'touch {canary}'),
    'meta': Call(NAME, evil),
    'nested name': Call(
      files.Name('torch_utils.persistence', 'os.system'), f'touch {canary}'),
    'exec': Call(files.Name('builtins', 'exec'), 'x = 1'),
  }


@pytest.mark.parametrize('place', attacks(''))
def test_commands_are_refused(place, tmp_path):
  canary = tmp_path / 'canary'
  file = write(tmp_path / 'evil.pkl', attacks(canary)[place])
  with pytest.raises(errors.CheckpointError, match='could run code') as caught:
    container.read(file)
  line = str(caught.value)
  assert line.startswith(f'{file}') and len(line.splitlines()) == 1
  assert not canary.exists()


@pytest.mark.parametrize(
  'meta',
  [
    1, {}, {'type': 'module', 'class_name': 'Net', 'state': {}},
    {'type': 'class', 'class_name': 3, 'state': {}},
    {'type': 'class', 'class_name': 'Net', 'state': [1]},
  ],
)  # fmt: skip
def test_metas_that_are_off(meta, tmp_path):
  file = write(tmp_path / 'off.pkl', Call(NAME, meta))
  with pytest.raises(errors.CheckpointError, match='persistent object') as e:
    container.read(file)
  assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize('part', [1, 50, 90, 99.9])
@pytest.mark.parametrize('item', ['edm/ve.pkl', 'edm2/network-nosrc.pkl'])
def test_cut_files(item, part, tmp_path):
  data = (GOLDEN / item).read_bytes()
  file = tmp_path / 'cut.pkl'
  file.write_bytes(data[:int(len(data) * part / 100)])
  with pytest.raises(errors.CheckpointError, match='damaged or cut') as e:
    container.read(file)
  assert len(str(e.value).splitlines()) == 1


def test_files_with_bytes_changed(tmp_path):
  """They are read, or refused in a line; no other error, and no command."""
  good = (files.GOLDEN / 'persistent.pkl').read_bytes()
  draw = np.random.default_rng(0)
  file, refused = tmp_path / 'changed.pkl', 0
  for _ in range(300):
    data = bytearray(good)
    for place in draw.integers(len(data), size=3):
      data[place] = draw.integers(256)
    file.write_bytes(data)
    try:
      imported.convert(file)
    except errors.CheckpointError as error:
      refused += 1
      assert len(str(error).splitlines()) == 1
  assert refused == 300


@pytest.mark.parametrize('kind', ['EDMPrecond', 'iDDPMPrecond', 'Precond'])
@pytest.mark.parametrize('state', [
  {}, {'_init_kwargs': {'img_resolution': 'x', 'img_channels': 3}},
  module(_init_kwargs={'img_resolution': 8, 'img_channels': 3}),
  module(modules={'a': 1}, _init_kwargs={'img_resolution': 8}),
])
def test_networks_that_are_none(kind, state, tmp_path):
  """Of a known class, but without its weights or its arguments."""
  file = write(
    tmp_path / 'network.pkl', {'ema': persist(state, class_name=kind)})
  with pytest.raises(errors.DifjaxError) as caught:
    imported.convert(file)
  assert len(str(caught.value).splitlines()) == 1


def test_states_that_are_set_later(tmp_path):
  """BUILD on the object that the function gave: no method of it is run."""
  canary = tmp_path / 'canary'
  evil = files.Run(os.system, f'touch {canary}')
  for state in ({'_modules': evil}, {'__setstate__': evil}):
    file = write(tmp_path / 'late.pkl', Built(persist(module()), state))
    with pytest.raises(errors.CheckpointError, match='could run code'):
      container.read(file)
  assert not canary.exists()


def test_parts_in_many_places():
  """2^60 of them, or a part that holds itself: refused, and soon."""
  part = persistent.Object(kind='Net', state=module({'w': W}))
  for _ in range(60):
    part = persistent.Object(
      kind='Net', state=module(modules={'a': part, 'b': part}))
  endless = persistent.Object(kind='Net', state=module())
  endless.state['_modules']['a'] = endless
  for net in (part, endless):
    with pytest.raises(ValueError, match='more than 20000 parts'):
      persistent.arrays(net)


def test_weights_that_are_none():
  strange = records.Opaque(module='a', name='b')
  for parameter in (1.0, strange):
    net = persistent.Object(kind='Net', state=module({'w': parameter}))
    with pytest.raises(ValueError, match='w is no array'):
      persistent.arrays(net)
  net = persistent.Object(kind='Net', state=module(modules={'a': strange}))
  with pytest.raises(ValueError, match=r'^a\. is no torch'):
    persistent.arrays(net)
