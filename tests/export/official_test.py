"""Official layouts out of difjax: found again, or refused in a line."""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np
import pytest

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments
from difjax.evaluation import trained
from difjax.export import official
from difjax.interop import imported
from tests import tiny

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
SHARED = GOLDEN.parents[2] / 'shared' / 'golden'


def model(family, file, config=None):
  """A run, as if it had trained what a file holds."""
  config = GOLDEN / config if config else None
  config = json.loads(config.read_text()) if config else {'num_heads': 4}
  found = imported.convert(GOLDEN / file, family, config)
  return trained.Trained(
    objective=configs.build(found.spec), params=found.params,
    shape=tuple(found.info['image_shape']),
    num_classes=found.info.get('num_classes', 0), class_names=(), step=0,
    config={'objective': json.loads(json.dumps(found.spec))},
  )  # fmt: skip


def shipped(name, shape, classes, over=(), **fields):
  """A run of a shipped config, its network made small, of any numbers."""
  config = arguments.config_file(str(tiny.ROOT / 'configs' / name)).to_dict()
  spec = config['objective'] | dict(over)
  spec['network'] |= fields
  objective = configs.build(spec)
  images = jax.ShapeDtypeStruct((1, *shape), np.float32)
  labels = jax.ShapeDtypeStruct((1,), np.int32)
  batch = {'image': images} | ({'label': labels} if classes else {})
  draw = np.random.default_rng(0).normal
  params = jax.tree.map(
    lambda leaf: draw(0, 0.05, leaf.shape).astype(leaf.dtype),
    jax.eval_shape(objective.init, jax.random.key(0), batch))
  return trained.Trained(
    objective=objective, params=params, shape=shape, num_classes=classes,
    class_names=(), step=0,
    config={'objective': json.loads(json.dumps(spec))})


NARROW = dict(channels=32, blocks_per_level=1, multipliers=(1,))
WIDE = dict(NARROW, channels=128, stem_channels=128)  # for heads of 64
SHORT = dict(depth=1, width=32, heads=2)


@pytest.mark.parametrize(
  ('family', 'name', 'shape', 'classes', 'fields'),
  [
    ('edm', 'cifar10/edm_vp.py', (8, 8, 3), 0, NARROW),
    ('edm', 'cifar10/edm_ve_cond.py', (8, 8, 3), 10,
     NARROW | dict(multipliers=(1, 1))),
    ('edm', 'imagenet64/edm_adm.py', (8, 8, 3), 10,
     WIDE | dict(num_classes=10)),
    ('adm', 'imagenet64/adm.py', (8, 8, 3), 10, WIDE | dict(num_classes=10)),
    ('adm', 'imagenet/iddpm_upsampler_256.py', (8, 8, 3), 10,
     NARROW | dict(stem_channels=32, num_classes=10)),
    ('adm', 'imagenet64/adm_classifier.py', (8, 8, 3), 10,
     WIDE | dict(num_classes=10)),
    ('score_sde', 'cifar10/ncsnpp_ve.py', (8, 8, 3), 0, NARROW),
    ('dit', 'imagenet/dit_xl2.py', (4, 4, 4), 10,
     SHORT | dict(num_classes=10)),
    ('sit', 'imagenet64/sit_b4.py', (8, 8, 3), 10,
     SHORT | dict(num_classes=10)),
  ],
)  # fmt: skip
def test_what_is_trained_is_exported(family, name, shape, classes, fields):
  """Shipped configs, in their own precision."""
  model = shipped(name, shape, classes, **fields)
  arrays, config = official.state_dict(family, model)
  assert sum(array.size for array in arrays.values()) >= sum(
    leaf.size for leaf in jax.tree.leaves(model.params))
  assert json.loads(json.dumps(config))


@pytest.mark.parametrize(
  ('family', 'file', 'config', 'told'),
  [
    ('dit', 'dit/DiT-tiny.pt', None, {'num_heads': 4, 'learn_sigma': True}),
    ('adm', 'adm/unet.pt', 'adm/unet.json', {'num_heads': 2}),
    ('edm', 'edm/ddpmpp.pkl', None, {'precond': 'EDMPrecond'}),
    ('edm', 'edm/ve.pkl', None, {'precond': 'VEPrecond', 'dropout': 0.1}),
    ('score_sde', 'scoresde/skips.pth', 'scoresde/skips.json', {}),
  ],
)
def test_what_is_imported_is_exported(family, file, config, told, tmp_path):
  """Under the arguments that its predictions ask for."""
  ours = model(family, file, config)
  arrays, found = official.state_dict(family, ours)
  assert told.items() <= found.items()
  assert json.loads(json.dumps(found))
  assert all(isinstance(array, np.ndarray) for array in arrays.values())


@pytest.mark.parametrize('name', ['ncsnpp_ve', 'ddpmpp_vp'])
def test_score_sde_is_told_the_table_of_any_network(name):
  """Its constructors make one of levels, whether they are read or not."""
  ours = shipped(f'cifar10/{name}.py', (8, 8, 3), 0, **NARROW)
  arrays, config = official.state_dict('score_sde', ours)
  told = [
    config['model'][key] for key in ('sigma_max', 'sigma_min', 'num_scales')]
  assert told == [50.0, 0.01, 1000]
  sigmas = arrays['module.sigmas']
  np.testing.assert_allclose([sigmas[0], sigmas[-1], len(sigmas)], told)


@pytest.mark.parametrize(
  ('process', 'target', 'told'),
  [
    ('RectifiedFlow', dict(type='denoising.Velocity', factor=-1.0),
     ('Linear', 'velocity')),
    ('Cosine', dict(type='denoising.Noise'), ('GVP', 'noise')),
    ('VP', dict(type='denoising.Score'), ('VP', 'score')),
  ],
)  # fmt: skip
def test_sit_is_told_path_and_prediction(process, target, told):
  over = dict(process=dict(type=f'processes.{process}'), target=target)
  ours = shipped('imagenet64/sit_b4.py', (8, 8, 3), 10, over, **SHORT,
                 num_classes=10)
  _, config = official.state_dict('sit', ours)
  assert (config['path_type'], config['prediction']) == told


def test_a_learned_variance_is_exported():
  """Under the one preconditioning whose network has it."""
  file = SHARED / 'edm_iddpm' / 'network-nosrc.pkl'
  if not file.exists():
    pytest.skip(f'{file} is not there: no official file to export again')
  _, config = official.state_dict('edm', model('edm', file))
  assert config['precond'] == 'iDDPMPrecond'


def test_twice_the_channels_are_refused():
  """EDM's networks have no second half in the head, but iDDPM's."""
  ours = shipped(
    'imagenet64/adm.py', (8, 8, 3), 10, **WIDE, num_classes=10)
  with pytest.raises(errors.ConfigError, match='edm has no such model'):
    official.state_dict('edm', ours)


def test_another_process_is_refused():
  """The weights are those of a DiT; what they predict is not."""
  ours = model('dit', 'dit/DiT-tiny.pt')
  spec = ours.config['objective']
  spec['process'] = dict(type='processes.CosineBetas', levels=1000)
  ours = trained.Trained(
    **{**vars(ours), 'objective': configs.build(spec)})
  with pytest.raises(errors.ConfigError, match='predicts something else'):
    official.state_dict('dit', ours)


@pytest.mark.parametrize('family', ['edm', 'adm', 'score_sde'])
def test_another_network_is_refused(family):
  with pytest.raises(errors.ConfigError, match=f'^{family} has no such model'):
    official.state_dict(family, model('dit', 'dit/DiT-tiny.pt'))
