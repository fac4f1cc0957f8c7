"""`difjax convert`: a directory as training leaves it, or one line."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest

from difjax import errors, pytree
from difjax.evaluation import trained
from difjax.training import checkpoint, writers
from tests.interop import files, official

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIG = """
from ml_collections import config_dict

from configs import parts


def get_config():
  config = config_dict.ConfigDict()
  config.objective = parts.score_sde(
    network={network!r}, process=dict(type='processes.SubVP')
  )
  config.data = dict(
    type='data.Pipeline', source=dict(type='data.Digits', split='train'),
    batch_size=8, threads=1,
  )
  config.steps = 2
  config.optimiser = parts.adam(parts.constant({rate}))
  config.ema = dict(main=dict(type='training.ConstantEMA', rate=0.5))
  config.sampler = parts.ddim(2)
  config.checkpoints = dict(type='training.Checkpoints', every=2)
  config.log_every = 1
  config.tensorboard = False
  config.mesh = dict(type='tests.tiny.OneDevice')
  return config
"""


@pytest.fixture(scope='module')
def made():
  """Bytes of a checkpoint, and our weights: average and last."""
  return official.checkpoint()


@pytest.fixture
def source(made, tmp_path):
  """That checkpoint as a file."""
  file = tmp_path / 'checkpoint_1.pth'
  file.write_bytes(made[0])
  return file


def same(tree, weights):
  """Compares a tree of parameters with weights by path."""
  found = dict(pytree.named_leaves(tree))
  assert found.keys() == weights.keys()
  for name, value in found.items():
    np.testing.assert_array_equal(value, weights[name], err_msg=name)


def test_a_directory_that_sampling_takes(made, source, tmp_path, call):
  out = tmp_path / 'runs' / 'imported'
  code, text, err = call(
    'convert', f'--src={source}', f'--out={out}', *official.flags()
  )
  assert code == 0, err
  assert text == f'{out}\n'
  assert {path.name for path in out.iterdir()} == {
    'config.json', 'data.json', 'origin.json', 'checkpoints'
  }  # fmt: skip
  assert [path.name for path in out.parent.iterdir()] == ['imported']
  model = trained.load(out)
  same(model.params, made[1])
  assert model.shape == (8, 8, 1) and model.step == 0
  grid = model.config['sampler']['grid']
  assert grid == {'type': 'sampling.Uniform', 'steps': 1000, 't_min': 1e-3}
  origin = json.loads((out / 'origin.json').read_text())
  assert origin['file'] == 'checkpoint_1.pth'
  assert origin['info']['step'] == 7
  code, _, err = call(
    'sample', f'--workdir={out}', f'--out={tmp_path}/images', '--num=2',
    '--block=2', '--sampler.grid.steps=2',
  )  # fmt: skip
  assert code == 0, err
  images = np.load(tmp_path / 'images' / 'samples.npz')['arr_0']
  assert images.shape == (2, 8, 8, 1)


def test_the_last_weights(made, source, tmp_path, call):
  file = tmp_path / 'official.json'
  file.write_text(json.dumps({'config': {'config': official.CONFIG}}))
  code, _, err = call(
    'convert', f'--src={source}', f'--out={tmp_path}/run', '--noema',
    '--family=score_sde', f'--config={file}',
  )  # fmt: skip
  assert code == 0, err
  same(trained.load(tmp_path / 'run').params, made[2])


def config_file(tmp_path, rate):
  """A config of ours for that checkpoint."""
  file = tmp_path / 'tiny.py'
  file.write_text(CONFIG.format(network=official.NETWORK, rate=rate))
  return file


def test_training_goes_on(made, source, tmp_path, call):
  """At rate 0 it leaves the weights as they came; moments are counted."""
  file, run = config_file(tmp_path, 0.0), tmp_path / 'run'
  code, _, err = call(
    'convert', f'--src={source}', f'--out={run}', f'--config={file}'
  )
  assert code == 0, err
  code, _, err = call('train', f'--config={file}', f'--workdir={run}')
  assert code == 0, err
  rows = writers.read_metrics(run)
  assert [row['step'] for row in rows] == [1, 2]
  assert all(np.isfinite(row['train/loss']) for row in rows)
  saved = {path.name for path in (run / 'checkpoints').iterdir()}
  assert saved == {'0', '2'}
  model = trained.load(run)
  assert model.step == 2
  found = dict(pytree.named_leaves(model.params))
  for name, value in made[1].items():
    np.testing.assert_allclose(found[name], value, rtol=1e-6)
  assert json.loads((run / 'data.json').read_text())['num_classes'] == 10


def test_training_needs_data_alone(made, source, tmp_path, call, refused):
  run = tmp_path / 'run'
  code, _, err = call(
    'convert', f'--src={source}', f'--out={run}', *official.flags()
  )
  assert code == 0, err
  assert 'data' in refused(2, 'train', f'--workdir={run}')
  train = [
    'train', f'--workdir={run}', '--config.data.type=data.Pipeline',
    '--config.data.batch_size=8', '--config.steps=1',
  ]  # fmt: skip
  for source_of, code in (
    (['ImageFolder', f'path={tmp_path}/none'], 4), (['Synthetic'], 2)
  ):  # these leave the directory as it is
    kind, *more = source_of
    fields = [f'type=data.{kind}', *more]
    refused(code, *train, *[f'--config.data.source.{f}' for f in fields])
  code, _, err = call(
    *train, '--config.data.source.type=data.Digits',
    '--config.tensorboard=False', '--config.log_every=1',
    '--config.mesh.type=tests.tiny.OneDevice', '--trust=tests',
  )  # fmt: skip
  assert code == 0, err
  assert trained.load(run).step == 1
  code, _, err = call('train', f'--workdir={run}', '--trust=tests')
  assert code == 0, err  # it has ended, and says so by doing nothing


@pytest.fixture
def untouched(refused, tmp_path):
  """Runs a conversion that must fail and write nothing."""

  def run(code, *argv):
    before = sorted(tmp_path.rglob('*'))
    line = refused(code, 'convert', f'--out={tmp_path}/run', *argv)
    assert sorted(tmp_path.rglob('*')) == before
    return line

  return run


def test_what_the_file_lacks_is_named(source, untouched):
  line = untouched(2, f'--src={source}', *official.flags('model.nf'))
  assert '--arch.model.nf=' in line


def test_a_config_of_another_size(source, tmp_path, untouched):
  file = config_file(tmp_path, 0.0)
  line = untouched(
    5, f'--src={source}', f'--config={file}',
    '--config.objective.network.channels=16',
  )  # fmt: skip
  assert 'all_modules.' in line
  line = untouched(
    5, f'--src={source}', f'--config={file}',
    '--config.objective.network.blocks_per_level=2',
  )  # fmt: skip
  assert 'all_modules.' in line


@pytest.mark.parametrize(
  ('flags', 'code', 'named'),
  [
    (('--family=score_sed',), 2, "no family 'score_sed'; there are: score_sde"),
    (('--config=absent.json',), 2, 'absent.json is not there'),
    (('--config=absent.py',), 2, 'absent.py is not there'),
    (('--widht=3',), 2, 'widht'),
    (('--arch.model.nff=8',), 2, "no 'model.nff'; did you mean 'model.nf'?"),
  ],
)
def test_flags(flags, code, named, source, untouched):
  assert named in untouched(code, f'--src={source}', *flags)


def test_a_network_from_two_places(source, tmp_path, untouched):
  file = config_file(tmp_path, 0.0)
  line = untouched(
    2, f'--src={source}', f'--config={file}', '--arch.model.nf=16'
  )
  assert 'not both' in line


def test_both_places_are_needed(refused, source):
  assert '--out=DIR' in refused(2, 'convert', f'--src={source}')
  assert '--src=FILE' in refused(2, 'convert', '--out=x')


def bad(canary):
  """Files that must do nothing, and what is said of them."""
  tree, storages = files.tensors(w=np.zeros(3))
  other = files.pickled({'pos_embed': tree['w'], 'blocks.0.x': tree['w']})
  return {
    'malicious': (files.attack(canary), 'could run code: refused'),
    'in a zip': (files.archive(files.attack(canary)), 'could run code'),
    'beside weights': (
      official.checkpoint(more=files.Run(os.system, f"touch {canary}"))[
        0
      ],
      'could run code',
    ),
    'escaping': (
      files.archive(files.pickled(tree), storages, {'../up': b''}),
      'outside the archive',
    ),
    'truncated': (official.checkpoint()[0][:5_000], 'damaged or cut short'),
    'another': (
      files.archive(other, storages),
      "difjax: it holds a dict of 2: 'pos_embed', 'blocks.0.x'",
    ),
    'text': (b'weights', 'no checkpoint that difjax knows'),
  }


@pytest.mark.parametrize('kind', bad(''))
def test_files_that_are_off(kind, tmp_path, untouched):
  data, named = bad(tmp_path / 'canary')[kind]
  file = tmp_path / 'checkpoint.pth'
  file.write_bytes(data)
  assert named in untouched(5, f'--src={file}', *official.flags())


@pytest.mark.parametrize('family', ['dit', 'sit'])
def test_latents_are_not_written_as_images(tmp_path, call, refused, family):
  """Their directory is whole, but nothing here decodes what they model."""
  file = REPOSITORY / 'tests' / 'golden' / 'dit' / 'DiT-tiny.pt'
  run, out = tmp_path / 'run', tmp_path / 'out'
  code, _, err = call(
    'convert', f'--src={file}', f'--out={run}', f'--family={family}',
    '--arch.num_heads=4')  # fmt: skip
  assert code == 0, err
  assert trained.load(run).shape == (8, 8, 4)
  for argv in (
    ('sample', f'--out={out}', '--num=1'),
    ('report', f'--out={out}'),
    ('evaluate', '--evaluation.bits.type=evaluation.Likelihood',
     '--evaluation.bits.source.type=data.Digits'),
  ):
    line = refused(2, argv[0], f'--workdir={run}', *argv[1:])
    assert 'latents of 4 channels' in line
    assert 'use difjax.interop.load and the solvers' in line
  assert not out.exists() and not (run / 'evaluation').exists()


def test_a_missing_file(tmp_path, untouched):
  assert 'No such file' in untouched(5, f'--src={tmp_path}/absent.pth')


def test_a_directory_in_use_is_left(source, tmp_path, refused):
  run = tmp_path / 'run'
  run.mkdir()
  (run / 'mine').write_text('x')
  line = refused(
    2, 'convert', f'--src={source}', f'--out={run}', *official.flags()
  )
  assert 'is not empty' in line
  assert [path.name for path in run.iterdir()] == ['mine']


def test_a_write_that_fails_leaves_nothing(source, untouched, monkeypatch):
  def fail(*_, **__):
    raise errors.CheckpointError('the disk is full')

  monkeypatch.setattr(checkpoint.Checkpointer, 'check_space', fail)
  line = untouched(5, f'--src={source}', *official.flags())
  assert 'the disk is full' in line


