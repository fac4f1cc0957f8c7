"""`difjax export`: files that run and load without difjax."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from difjax import interop
from difjax.evaluation import trained as runs
from tests import tiny
from tests.export import files

pytest.importorskip('flatbuffers', reason='pip install flatbuffers')


@pytest.fixture(scope='module')
def exported(trained, tmp_path_factory):
  """A sampler of the run, with a guide."""
  from difjax import __main__

  out = tmp_path_factory.mktemp('export') / 'new' / 'sampler.difjax'
  code = __main__.main([
    'export', f'--workdir={trained}', f'--out={out}',
    '--classifier_free.scale=2.0',
  ])  # fmt: skip
  assert code == 0
  return out


def sampled(call, workdir, out, *flags):
  """The bytes of `difjax sample`."""
  code, _, err = call('sample', f'--workdir={workdir}', f'--out={out}', *flags)
  assert code == 0, err
  return np.load(out / 'samples.npz')['arr_0']


def test_the_reader_has_ten_lines():
  assert len(files.reader().splitlines()) == 10


def test_the_reader_gives_the_bits_of_sample(exported, trained, tmp_path, call):
  expected = sampled(
    call, trained, tmp_path / 'out', '--num=64', '--first=10', '--seed=5',
    '--classifier_free.scale=2.0',
  )  # fmt: skip
  found, x = files.run(
    exported, tmp_path / 'found.npz', seed=5,
    indices="np.arange(10, 74, dtype='i4')",
  )  # fmt: skip
  assert x.dtype == np.float32
  assert len(np.unique(found.reshape(64, -1), axis=0)) == 64
  np.testing.assert_array_equal(found, expected)


def test_any_batch(exported, trained, tmp_path, call):
  """Images of a smaller call, one of them asked for twice."""
  expected = sampled(
    call, trained, tmp_path / 'out', '--num=12', '--block=12',
    '--classifier_free.scale=2.0',
  )  # fmt: skip
  found, _ = files.run(
    exported, tmp_path / 'found.npz', general=True,
    indices="np.array([7, 3, 7], dtype='i4')",
  )  # fmt: skip
  np.testing.assert_array_equal(found[0], found[2])
  assert abs(found[:2].astype(int) - expected[[7, 3]]).max() <= 1


def test_the_card_and_the_members(exported, trained):
  with zipfile.ZipFile(exported) as archive:
    assert archive.testzip() is None
    assert {info.compress_type for info in archive.infolist()} == {
      zipfile.ZIP_STORED}
    card = json.loads(archive.read('card.json'))
  assert {
    name: (each['batch'], each['platforms'])
    for name, each in card['programs'].items()
  } == {
    'cpu': (64, ['cpu']), 'gpu': (64, ['cuda']), 'tpu': (64, ['tpu']),
    'sampler': (None, ['cpu', 'cuda', 'tpu']),
  }  # fmt: skip
  assert card['shape'] == [8, 8, 1]
  assert (card['num_classes'], card['step']) == (10, 4)
  assert card['ema'] == 'main'
  assert card['leads']['classifier_free']['scale'] == 2.0
  assert card['params']['model/scale'] == {
    'dtype': 'float32', 'shape': [], 'bytes': 4}


@pytest.mark.parametrize('ema', ['main', ''])
def test_parameters_there_and_back(ema, trained, tmp_path, call):
  """To safetensors, and to a work directory of the same bits."""
  file = tmp_path / 'weights.safetensors'
  code, out, err = call(
    'export', f'--workdir={trained}', f'--params={file}', f'--ema={ema}')
  assert (code, out, err) == (0, f'{file}\n', [])
  expected = runs.load(trained, ema=ema).params
  flat = interop.read(file)
  np.testing.assert_array_equal(
    flat['patch_in/kernel'], expected['patch_in']['kernel'])
  code, _, err = call(
    'convert', f'--src={file}', f'--out={tmp_path}/run',
    '--config=tests/tiny_config.py',
  )  # fmt: skip
  assert code == 0, err
  found = runs.load(tmp_path / 'run').params
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_averages_differ_from_the_last_parameters(trained):
  """Else the test above could not tell one from the other."""
  averaged, last = (runs.load(trained, ema=ema).params for ema in ('main', ''))
  assert (averaged['patch_in']['kernel'] != last['patch_in']['kernel']).any()


def test_without_a_config_parameters_are_no_model(trained, tmp_path, call,
                                                  refused):
  file = tmp_path / 'weights.safetensors'
  assert call('export', f'--workdir={trained}', f'--params={file}')[0] == 0
  line = refused(2, 'convert', f'--src={file}', f'--out={tmp_path}/run')
  assert '--config=FILE.py' in line


@pytest.mark.parametrize(
  ('flags', 'code', 'named'),
  [
    ((), 2, '--out=FILE or --params=FILE'),
    (('--out=x.difjax', '--platforms=abacus'), 2, 'cpu, cuda, tpu'),
    (('--out=x.difjax', '--ema=none'), 2, "no average 'none'"),
    (('--out=x.difjax', '--family=dit'), 2, '--params'),
    (('--params=x', '--family=sd'), 2, 'adm, dit, edm, score_sde, sit'),
    (('--params=x', '--family=edm'), 2, 'edm'),
  ],
)
def test_refusals(flags, code, named, trained, tmp_path, monkeypatch, refused):
  assert named in refused(code, 'export', f'--workdir={trained}', *flags)


def test_a_failed_export_leaves_nothing(trained, tmp_path, refused):
  refused(
    2, 'export', f'--workdir={trained}', f'--out={tmp_path}/x.difjax',
    '--sampler.solver.type=sampling.Nowhere',
  )  # fmt: skip
  assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_the_adaptive_ode_exports(trained, tmp_path, call):
  """In a process of its own, where diffrax is not there before."""
  out = tmp_path / 'adaptive.difjax'
  flags = (
    '--sampler.type=sampling.AdaptiveODE', '--sampler.rtol=1e-2',
    '--sampler.atol=1e-2',
  )  # fmt: skip
  argv = ['export', f'--workdir={trained}', f'--out={out}', *flags]
  subprocess.run([sys.executable, '-m', 'difjax', *argv], check=True)
  expected = sampled(call, trained, tmp_path / 'out', '--num=64', *flags)
  found, _ = files.run(out, tmp_path / 'found.npz')
  np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_the_quickstart_in_a_fresh_environment(tmp_path):
  """With jax and flatbuffers alone, and all that users' compilers optimise."""
  python = tmp_path / 'fresh' / 'bin' / 'python'
  ours = 'JAX_DISABLE_MOST_OPTIMIZATIONS', 'JAX_NUM_CPU_DEVICES', 'PYTHONPATH'
  env = {
    name: value for name, value in os.environ.items() if name not in ours
  }
  call = lambda *argv, **more: subprocess.run(
    [*map(str, argv)], env=env | more, check=True)
  difjax = lambda *argv: call(
    sys.executable, '-m', 'difjax', *argv, PYTHONPATH=str(tiny.ROOT))
  call(sys.executable, '-m', 'venv', tmp_path / 'fresh')
  try:
    call(python, '-m', 'pip', 'install', 'flatbuffers', 'jax==' +
         jax.__version__)
  except subprocess.CalledProcessError:
    pytest.skip('no package index here')
  run, out, file = (tmp_path / name for name in ('run', 'out', 'x.difjax'))
  difjax('train', '--config=configs/quickstart.py', f'--workdir={run}',
         '--config.steps=101')
  common = f'--workdir={run}', '--block=32'
  difjax('sample', *common, f'--out={out}', '--num=96', '--seed=3')
  difjax('export', *common, f'--out={file}')
  expected = np.load(out / 'samples.npz')['arr_0']
  for start in range(0, 96, 32):
    found = tmp_path / f'{start}.npz'
    text = files.code(
      file, found, seed=3,
      indices=f"np.arange({start}, {start + 32}, dtype='i4')",
    )  # fmt: skip
    call(python, '-I', '-c', 'import sys\n' + text + (
      "assert not {'difjax', 'flax', 'optax'} & {*sys.modules}\n"))
    np.testing.assert_array_equal(
      np.load(found)['images'], expected[start : start + 32])
