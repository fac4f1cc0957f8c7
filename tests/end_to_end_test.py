"""One tiny run from the command line, and every kind of experiment's steps."""

from __future__ import annotations

import contextlib
import pathlib
import re
import subprocess

import jax
import numpy as np
import pytest
from PIL import Image

from configs import parts
from difjax import __main__, pytree
from difjax.cli import train
from difjax.training import mesh as meshes
from difjax.training import trainer as trainers
from difjax.training import writers
from tests import tiny, tiny_config

LAUNCHERS = sorted((tiny.ROOT / 'launch').rglob('*.sh'))


def run(*argv):
  with contextlib.chdir(tiny.ROOT):
    assert __main__.main([str(arg) for arg in argv]) == 0


def test_train_resume_sample(tmp_path):
  """Thirty steps with a restart at twenty, as a user would."""
  workdir, out = tmp_path / 'run', tmp_path / 'out'
  command = [
    'train', '--config=tests/tiny_config.py', f'--workdir={workdir}',
    '--config.checkpoints.every=10', '--config.tensorboard=true',
    '--config.log_every=5',
  ]  # fmt: skip
  with tiny.quick_compilation():
    run(*command, '--config.steps=20')
    run(*command, '--config.steps=30')
    run('sample', f'--workdir={workdir}', f'--out={out}', '--num=20')
  rows = writers.read_metrics(workdir)
  assert [row['step'] for row in rows] == [5, 10, 15, 20, 25, 30]
  losses = [row['train/loss'] for row in rows]
  assert losses[-1] < losses[0]
  assert rows[-1]['train/skipped'] == 0
  assert list((workdir / 'tensorboard').iterdir())
  steps = {path.name for path in (workdir / 'checkpoints').iterdir()}
  assert steps == {'20', '30'}
  with np.load(out / 'samples.npz', allow_pickle=False) as found:
    images, labels = found['arr_0'], found['arr_1']
  assert (images.dtype, images.shape) == (np.uint8, (20, 8, 8, 1))
  assert labels.dtype == np.int64
  assert labels.tolist() == [i % 10 for i in range(20)]
  for i, image in enumerate(images):
    with Image.open(out / 'png' / f'{i:06d}.png') as picture:
      np.testing.assert_array_equal(np.asarray(picture), image[..., 0])
  with Image.open(out / 'grid.png') as picture:
    assert min(picture.size) >= 2 * 8


NETWORKS = {
  'dit': dict(
    type='networks.DiT', patch=(4, 4), width=16, depth=1, heads=2,
    num_classes=10,
  ),
  'unet': dict(
    type='networks.UNet', channels=8, multipliers=(1,), blocks_per_level=1,
    attention_resolutions=(), num_classes=10,
    norm=dict(partial='networks.GroupNorm', groups=4),
  ),
}  # fmt: skip
OBJECTIVES = {
  'vp': lambda network: parts.score_sde(network, dict(type='processes.VP')),
  'edm': parts.edm,
  'flow': parts.flow,
}
DTYPES = ('float32', 'bfloat16')


def build(network, objective, dtype):
  """Builds a Trainer by plain momentum, without an average."""
  spec = tiny_config.get_config().to_dict()
  spec['objective'] = OBJECTIVES[objective](
    dict(**NETWORKS[network], dtype=dict(ref=f'jax.numpy.{dtype}'))
  )
  spec['optimiser'] = dict(
    type='training.Optimiser', clip_norm=None,
    rule=dict(type='optax.trace', decay=0.9),
    schedule=dict(type='optax.constant_schedule', value=0.1),
  )  # fmt: skip
  del spec['ema']
  return train.build(spec)


def prepared(trainer, mesh):
  """Returns (jitted step, abstract state, batch) on a mesh of one device."""
  step, abstract = trainers.compiled(trainer, mesh)
  batch = trainer.data.rows(0, np.arange(16))
  return step, abstract, jax.device_put(batch, meshes.batch_sharding(mesh))


# Compiling is what costs: every network, objective and type in four pairings.
@pytest.mark.parametrize(
  ('network', 'objective', 'dtype'),
  [
    ('dit', 'vp', 'float32'),
    ('dit', 'flow', 'bfloat16'),
    ('unet', 'edm', 'float32'),
    ('unet', 'flow', 'bfloat16'),
  ],
)
def test_two_steps(network, objective, dtype):
  trainer, rng = build(network, objective, dtype), np.random.default_rng(0)
  mesh = tiny.OneDevice().build()
  with jax.set_mesh(mesh), tiny.quick_compilation():
    step, abstract, batch = prepared(trainer, mesh)
    # Not a fresh network's parameters, whose last layer hides all others.
    draw = lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype)
    first = jax.tree.map(draw, abstract.params)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract)
    placed = jax.tree.map(lambda x: x.sharding, abstract)
    state = jax.device_put(zeros.replace(params=first), placed)
    for _ in range(2):
      state, metrics = step(state, batch)
  assert int(metrics['skipped']) == 0
  assert np.isfinite(metrics['loss'])
  for (path, new), old in zip(
    pytree.named_leaves(state.params), jax.tree.leaves(first), strict=True
  ):
    assert np.isfinite(new).all(), path
    assert (new != old).any(), path


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('objective', OBJECTIVES)
@pytest.mark.parametrize('network', NETWORKS)
def test_types_of_every_pairing(network, objective, dtype):
  """A step as it is traced: what is kept is float32, products are `dtype`."""
  mesh = tiny.OneDevice().build()
  with jax.set_mesh(mesh):
    step, abstract, batch = prepared(build(network, objective, dtype), mesh)
    traced = step.trace(abstract, batch)
  state, metrics = traced.out_info
  assert {str(x.dtype) for x in jax.tree.leaves(state.params)} == {'float32'}
  assert str(metrics['loss'].dtype) == 'float32'
  short = {'float32': 'f32', 'bfloat16': 'bf16'}[dtype]
  products = set(re.findall(
    r':(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)',
    str(traced.jaxpr),
  ))  # fmt: skip
  assert short in products
  # The head and the embedding of time are float32 always.
  assert products <= {short, 'f32'}


@pytest.mark.parametrize('script', LAUNCHERS, ids=lambda path: path.name)
def test_launchers_parse(script):
  subprocess.run(['bash', '-n', str(script)], check=True)


def test_there_are_launchers():
  names = {pathlib.Path(path).name for path in LAUNCHERS}
  assert names >= {'quickstart.sh', 'test.sh', 'env.sh'}
