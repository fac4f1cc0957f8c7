"""Official layouts out of difjax: found again, or refused in a line."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from difjax import config as configs
from difjax import errors
from difjax.evaluation import trained
from difjax.export import official
from difjax.interop import imported

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'


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
