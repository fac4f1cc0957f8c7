"""Importing: which family a file is of, and that its weights are all used."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import difjax
from difjax import config as configs
from difjax import errors, pytree
from difjax.interop import base, imported
from tests.interop import official

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'
NETWORK = {
  'type': 'networks.DiT', 'patch': (2, 2), 'width': 8, 'depth': 1, 'heads': 1,
  'num_classes': 3,
}  # fmt: skip
SPEC = {
  'type': 'objectives.Denoising', 'network': NETWORK,
  'process': {'type': 'processes.VP'}, 'target': {'type': 'denoising.Noise'},
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fake:
  """A family whose files say what they are and hold our own parameters."""

  word: str
  info: dict

  def recognises(self, tree):
    """Looks for its word."""
    return self.word in tree

  def convert(self, tree, config, *, ema=True):
    """Takes the parameters as they are."""
    info = {**self.info, 'config': config, 'ema': ema}
    params = tree['params'] if ema else tree['last']
    return base.Converted(spec=SPEC, network=NETWORK, params=params, info=info)


@pytest.fixture
def families(monkeypatch):
  """Two families, in order."""
  info = {'image_shape': (4, 4, 1), 'num_classes': 3}
  two = {name: (Fake(word=name, info=info),) for name in ('first', 'second')}
  monkeypatch.setattr(imported, 'FAMILIES', two)
  return two


@pytest.fixture
def saved(tmp_path, monkeypatch):
  """Makes what a reader would give of a file; no file is there."""

  def save(**tree):
    monkeypatch.setattr(imported.container, 'read', lambda path: tree)
    return 'a.pth'

  return save


@pytest.fixture(scope='module')
def params():
  """Parameters of NETWORK."""
  network = configs.build(NETWORK)
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), np.zeros((1, 4, 4, 1)), np.zeros(1),
    {'label': np.zeros(1, int)},
  )  # fmt: skip
  return jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes['params'])


def test_the_first_family_that_knows_the_file(families, saved, params):
  found = imported.convert(saved(second=0, params=params))
  assert found.info['config'] is None and found.info['ema']
  found = imported.convert(
    saved(second=0, last=params), 'second', {'depth': 1}, ema=False
  )
  assert found.info['config'] == {'depth': 1} and not found.info['ema']


def refusal(error, *args):
  """The one line that an import is refused with."""
  with pytest.raises(error) as caught:
    imported.convert(*args)
  assert len(str(caught.value).splitlines()) == 1
  return str(caught.value)


def test_files_of_no_family(families, saved):
  path = saved(one=1, two=2, three=3, four=4)
  line = refusal(errors.CheckpointError, path)
  assert line == (
    'a.pth is no checkpoint of first or second: it holds '
    "a dict of 4: 'one', 'two', 'three' and 1 more"
  )
  line = refusal(errors.CheckpointError, saved(first=1), 'second')
  assert "no checkpoint of second: it holds a dict of 1: 'first'" in line
  line = refusal(errors.ConfigError, path, 'third')
  assert "no family 'third'; there are: first, second" in line


def test_parameters_are_compared_by_name(families, saved, params):
  leaves = dict(pytree.named_leaves(params))
  shapes = {name: leaf.shape for name, leaf in leaves.items()}
  name = next(iter(leaves))
  tree = {key: value for key, value in params.items()}
  gone = sorted(tree)[0]
  del tree[gone]
  line = refusal(errors.CheckpointError, saved(first=1, params=tree))
  assert f'lacks {gone}/' in line
  tree = {**params, 'surplus': {'kernel': np.zeros(2)}}
  line = refusal(errors.CheckpointError, saved(first=1, params=tree))
  assert 'has beyond the network surplus/kernel' in line
  tree = pytree.map_named(
    lambda path, leaf: np.zeros((7, 7, 7)) if path == name else leaf, params
  )
  line = refusal(errors.CheckpointError, saved(first=1, params=tree))
  assert f'{name} (7, 7, 7) for {shapes[name]}' in line


def test_a_module_of_a_family_that_knows_the_file(
  monkeypatch, saved, params
):
  """A classifier has no denoiser."""

  class Labels(Fake):
    def convert(self, tree, config, *, ema=True):
      found = super().convert(tree, config, ema=ema)
      spec = dict(
        type='objectives.Classifier', network=NETWORK, process=SPEC['process']
      )
      return dataclasses.replace(found, spec=spec)

  info = {'image_shape': (4, 4, 1), 'num_classes': 3}
  modules = (Fake(word='a', info={}), Labels(word='b', info=info))
  monkeypatch.setattr(imported, 'FAMILIES', {'family': modules})
  found = imported.load(saved(b=1, params=params))
  assert found.denoiser is None
  assert found.objective.network == found.network


def test_summaries_stay_short():
  long = {'x' * 10_000: 1, 'line\nbreak': 2}
  for tree in (long, list(range(10**5)), (), {}, None, 'y' * 1000, np.ones(99)):
    text = imported.summary(tree)
    assert len(text) < 200 and '\n' not in text


def test_nested_mappings_merge():
  first = {'a': {'b': 1, 'c': 2}, 'd': 3}
  found = imported.merged(first, {'a': {'c': 4}, 'e': {'f': 5}})
  assert found == {'a': {'b': 1, 'c': 4}, 'd': 3, 'e': {'f': 5}}
  assert first == {'a': {'b': 1, 'c': 2}, 'd': 3}


def test_endless_nesting_is_one_line(monkeypatch, saved):
  class Deep(Fake):
    def convert(self, tree, config, *, ema=True):
      raise RecursionError

  deep = {'deep': (Deep(word='deep', info={}),)}
  monkeypatch.setattr(imported, 'FAMILIES', deep)
  assert 'nested' in refusal(errors.CheckpointError, saved(deep=1))


def test_load(tmp_path):
  """The network has the file's weights, and the denoiser is made of it."""
  data, average, _ = official.checkpoint()
  file = tmp_path / 'checkpoint_1.pth'
  file.write_bytes(data)
  found = difjax.interop.load(file, config={'config': official.CONFIG})
  for name, leaf in pytree.named_leaves(found.params):
    np.testing.assert_array_equal(leaf, average[name])
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), 'f4')
  t = jnp.asarray([0.3, 0.8])
  eps = found.network.apply({'params': found.params}, x, 999 * t, None)
  prediction = found.denoiser(x, t)
  np.testing.assert_allclose(prediction.eps, eps, rtol=1e-5, atol=1e-5)
  assert found.info['step'] == 7


@pytest.mark.parametrize(
  'odd', [{'step': {}}, {'model': {'module.all_modules.0.W': 'text'}},
          {'ema': {'shadow_params': 3}}],
)  # fmt: skip
def test_odd_parts_are_one_line(odd, tmp_path):
  file = tmp_path / 'checkpoint_1.pth'
  file.write_bytes(official.checkpoint(**odd)[0])
  refusal(errors.CheckpointError, file, None, official.CONFIG)


@pytest.mark.skipif(not SHARED.exists(), reason='needs ../shared/golden')
@pytest.mark.parametrize('name', ['dit', 'sit', 'guided_unet'])
def test_other_architectures_are_refused(name):
  (file, *_) = sorted((SHARED / name).glob('*.pt'))
  config = json.loads((SHARED / 'scoresde_ddpm/config.json').read_text())
  with pytest.raises(errors.CheckpointError, match='score_sde'):
    imported.convert(file, 'score_sde', config['config'])


