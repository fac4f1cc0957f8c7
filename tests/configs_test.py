"""Every config builds, has the parameters that its header states, and more."""

import pathlib
import re

import jax
import numpy as np
import pytest

from difjax import config, errors, pytree
from difjax.cli import arguments, train

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(
  path for path in (ROOT / 'configs').rglob('*.py') if path.name != 'parts.py'
)
SHAPES = {  # of an image, and classes: the data themselves are not at hand
  'quickstart.py': ((8, 8, 1), 10),
  'folder.py': ((32, 32, 3), 0),
  'cifar10': ((32, 32, 3), 0),
  'fashion_mnist': ((28, 28, 1), 10),
  'imagenet64': ((64, 64, 3), 1_000),
}


def _probe(path):
  shape, classes = SHAPES[path.relative_to(ROOT / 'configs').parts[0]]
  image = jax.ShapeDtypeStruct((2, *shape), np.float32)
  label = {'label': jax.ShapeDtypeStruct((2,), np.int32)} if classes else {}
  return {'image': image, **label}


def _header(path, key):
  """Returns a field of a config's header, which may go on, indented."""
  field = rf'^{key} +((?:.+\n)(?: {{11}}.+\n)*)'
  found = re.search(field, path.read_text(), re.MULTILINE)
  return ' '.join(found[1].removesuffix('"""\n').split())


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_builds_with_the_stated_parameters(path):
  trainer = train.build(arguments.config_file(str(path)).to_dict())
  params = jax.eval_shape(
    trainer.objective.init, jax.random.key(0), _probe(path)
  )
  stated = int(_header(path, 'Parameters').replace(',', ''))
  assert pytree.count(params) == stated
  for key in ('Paper', 'Cost', 'Data', 'Command'):
    assert _header(path, key)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_loss_can_be_traced(path):
  objective = train.build(arguments.config_file(str(path)).to_dict()).objective
  probe = _probe(path)
  params = jax.eval_shape(objective.init, jax.random.key(0), probe)
  loss, _ = jax.eval_shape(
    lambda p, b: objective.loss(
      p, (), None, b, jax.random.key(0), step=0, ema={}
    ),
    params,
    probe,
  )
  assert loss.shape == ()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_saved_config_needs_no_trust(path, tmp_path):
  config.save(arguments.config_file(str(path)), tmp_path / 'config.json')
  saved = config.load(tmp_path / 'config.json')
  config.build(saved, trusted=False)


def test_the_table_of_recipes_is_that_of_the_headers():
  folder = ROOT / 'configs'
  rows = [
    f'| [{name}]({name}) | {_header(path, "Paper")} | '
    f'{_header(path, "Parameters")} | {_header(path, "Cost")} |'
    for path in CONFIGS
    for name in [path.relative_to(folder)]
  ]
  table = (folder / 'README.md').read_text().split('|---|---|---|---|\n')[1]
  assert table.splitlines() == rows


def test_the_published_count():
  path = ROOT / 'configs' / 'cifar10' / 'ddpmpp_vp.py'
  assert _header(path, 'Parameters') == '61,804,419'  # score_sde's own network


def test_missing_data_are_named():
  path = ROOT / 'configs' / 'cifar10' / 'ddpmpp_vp.py'
  trainer = train.build(arguments.config_file(str(path)).to_dict())
  with pytest.raises(errors.DataError, match='cifar'):
    trainer.data.rows(0, np.arange(1))
