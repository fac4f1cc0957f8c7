"""`difjax ema`: a run of its own of an average that was not kept."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from difjax import config as configs
from difjax import training
from difjax.cli import train
from difjax.evaluation import samples
from difjax.evaluation import trained as runs
from difjax.training import ema
from tests import tiny, tiny_config

TRUST = '--trust=tests'  # the network is one of theirs
STEPS, WIDTHS = 12, {'main': 0.1, 'wide': 0.2}


class Watch:
  """A hook that keeps the parameters of every step."""

  every = 1

  def __init__(self):
    self.path = []

  def __call__(self, run, step, state):
    """Keeps them."""
    self.path.append(jax.tree.map(np.array, state.params))


def average(path, width):
  """Returns the average of parameters step by step (`posthoc_test`)."""
  powers = np.linspace(0, 1, len(path) + 1) ** (ema.exponent(width) + 1)
  weigh = lambda *leaves: np.tensordot(np.diff(powers), np.stack(leaves), 1)
  return jax.tree.map(weigh, *path)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run with snapshots of two averages, and its parameters at every step."""
  workdir = tmp_path_factory.mktemp('ema') / 'run'
  spec = tiny_config.get_config().to_dict()
  spec['steps'] = STEPS
  spec['objective']['network'] = dict(type='tests.tiny.Affine')
  spec['optimiser']['schedule']['peak_value'] = 0.1
  spec['ema'] = {
    name: dict(type='training.PowerFunctionEMA', width=width)
    for name, width in WIDTHS.items()
  }
  spec['hooks'] = dict(
    keep=dict(type='training.Snapshots', every=2), order=('keep',)
  )
  trainer, watch = train.build(spec), Watch()
  with tiny.quick_compilation():
    training.train(
      dataclasses.replace(trainer, hooks=(*trainer.hooks, watch)), workdir
    )
  configs.save(spec, workdir / 'config.json')
  return workdir, watch.path


@pytest.fixture
def kept(run, tmp_path):
  """A copy of the run."""
  return shutil.copytree(run[0], tmp_path / 'kept')


def distance(one, other):
  """Returns the mean distance of parameters."""
  gaps = jax.tree.map(lambda a, b: np.abs(a - b).mean(), one, other)
  return np.mean(jax.tree.leaves(gaps))


def test_an_average_that_was_not_kept_and_samples_of_it(run, call, tmp_path):
  """Within a tenth of what the two kept averages lie apart."""
  workdir, path = run
  out = tmp_path / 'made'
  code, printed, _ = call(
    'ema', f'--workdir={workdir}', '--width=0.15', f'--out={out}', TRUST)
  assert (code, printed.strip()) == (0, str(out))
  model, wanted = runs.load(out, trust=('tests',)), average(path, 0.15)
  apart = distance(*(average(path, width) for width in WIDTHS.values()))
  assert distance(model.params, wanted) < 0.1 * apart
  raw = runs.load(out, ema='', trust=('tests',))
  jax.tree.map(np.testing.assert_array_equal, raw.params, model.params)
  code, _, _ = call(
    'sample', f'--workdir={out}', f'--out={tmp_path}/drawn', '--num=4',
    '--block=4', TRUST)  # fmt: skip
  assert code == 0
  direct, _ = samples.generate(
    model.objective, configs.build(model.config['sampler'], path='sampler'),
    jax.tree.map(np.float32, wanted), shape=model.shape, size=4,
    indices=np.arange(4), labels=np.arange(4),
  )  # fmt: skip
  with np.load(tmp_path / 'drawn' / 'samples.npz') as drawn:
    gap = drawn['arr_0'].astype(int) - direct
  assert np.abs(gap).mean() < 2  # grey levels


def test_what_is_written_beside_it(run, call, tmp_path):
  out = tmp_path / 'made'
  assert call(
    'ema', f'--workdir={run[0]}', '--width=0.15', f'--out={out}', TRUST
  )[0] == 0  # fmt: skip
  model = runs.load(out, trust=('tests',))
  origin = json.loads((out / 'origin.json').read_text())
  assert (origin['step'], origin['width']) == (STEPS, 0.15)
  assert model.config['ema']['main']['width'] == 0.15
  assert (model.shape, model.num_classes) == ((8, 8, 1), 10)


def test_an_earlier_step(run, call, tmp_path):
  """At a snapshot an average that was kept is met exactly."""
  workdir, path = run
  code, _, _ = call(
    'ema', f'--workdir={workdir}', '--width=0.1', f'--out={tmp_path}/made',
    '--step=6', TRUST)  # fmt: skip
  assert code == 0
  found = runs.load(tmp_path / 'made', trust=('tests',)).params
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found,
    average(path[:6], 0.1))  # fmt: skip


@pytest.mark.parametrize(('flags', 'code', 'message'), [
  ((), 2, 'needs --workdir=DIR, --width=W and --out=DIR'),
  (('--width=0.9',), 2, 'between 0 and 0.28'),
  (('--width=0.1', '--step=1'), 2, 'none of step 1'),
])
def test_refusals(flags, code, message, kept, refused, tmp_path):
  places = (f'--workdir={kept}', f'--out={tmp_path}/made') if flags else ()
  assert message in refused(code, 'ema', *places, *flags, TRUST)
  assert not (tmp_path / 'made').exists()


def test_a_run_without_snapshots(kept, refused, tmp_path):
  shutil.rmtree(kept / 'snapshots')
  line = refused(
    2, 'ema', f'--workdir={kept}', '--width=0.1', f'--out={tmp_path}/made',
    TRUST)  # fmt: skip
  assert 'no snapshots of power-function averages' in line


def test_a_saved_optimiser_is_a_stranger_too(kept, refused, tmp_path):
  spec = configs.load(kept / 'config.json')
  spec['optimiser'] = dict(type='os.system', command=f'touch {tmp_path}/ran')
  configs.save(spec, kept / 'config.json')
  line = refused(
    2, 'ema', f'--workdir={kept}', '--width=0.1', f'--out={tmp_path}/made',
    TRUST)  # fmt: skip
  assert "'os.system' may not be used" in line
  assert not (tmp_path / 'ran').exists()


def test_an_output_that_is_taken(kept, refused):
  line = refused(
    2, 'ema', f'--workdir={kept}', '--width=0.1', f'--out={kept}', TRUST)
  assert 'is not empty' in line
