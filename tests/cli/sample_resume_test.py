"""`difjax sample` as a job: stopped, continued, and refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from difjax.evaluation import sample_set
from tests import tiny
from tests.training import jobs

FLAGS = ('--num=23', '--first=5', '--block=4', '--seed=9', '--formats=npz')


def tree(folder):
  paths = sorted(p for p in folder.rglob('*') if p.is_file())
  return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture(scope='module')
def whole(trained, tmp_path_factory):
  """A set that nobody disturbed."""
  from difjax import __main__

  out = tmp_path_factory.mktemp('whole') / 'out'
  flags = [f'--workdir={trained}', f'--out={out}', *FLAGS]
  assert __main__.main(['sample', *flags]) == 0
  return out


def test_stopped_and_continued(whole, trained, tmp_path, call, monkeypatch):
  out = tmp_path / 'out'
  argv = ('sample', f'--workdir={trained}', f'--out={out}', *FLAGS)
  write, left = sample_set.SampleSet.write, [1, 2]

  def mortal(self, number, block):
    if not left[0]:
      left.pop(0)
      raise KeyboardInterrupt
    left[0] -= 1
    write(self, number, block)

  with monkeypatch.context() as patch:
    patch.setattr(sample_set.SampleSet, 'write', mortal)
    assert call(*argv)[0] == 130
    assert call(*argv)[0] == 130
  assert len(list(out.glob('blocks/0*.npz'))) == 3
  assert not (out / 'samples.npz').exists()
  code, printed, _ = call(*argv)
  assert code == 0
  assert printed.startswith('23 images, 4.0 network evaluations each')
  assert tree(out) == tree(whole)


def test_other_formats_of_what_is_there(whole, trained, call):
  """The same images: no block is written again."""
  before = {p: p.stat().st_mtime_ns for p in (whole / 'blocks').iterdir()}
  code, _, err = call(
    'sample', f'--workdir={trained}', f'--out={whole}', *FLAGS[:-1],
    '--formats=edm,zip', '--step=4',
  )  # fmt: skip
  assert code == 0, err
  now = {p: p.stat().st_mtime_ns for p in (whole / 'blocks').iterdir()}
  assert now == before
  assert (whole / 'edm' / '000000' / '000027.png').exists()
  assert (whole / 'samples.zip').exists()


@pytest.mark.parametrize(('flag', 'code', 'named'), [
  ('--seed=8', 2, 'protocol.seed: 9 -> 8'),
  ('--block=8', 2, 'protocol.block: 4 -> 8'),
  ('--quantiser=adm', 2, "protocol.quantiser: 'edm' -> 'adm'"),
  ('--sampler.grid.steps=6', 2, 'protocol.sampler.grid.steps: 4 -> 6'),
  ('--labels=3', 2, "protocol.labels: 'all in turn' -> [3]"),
  ('--classifier_free.scale=2.0', 2, 'protocol.guidance.classifier_free'),
  ('--ema=', 2, "protocol.ema: 'main' -> ''"),
  ('--step=3', 5, 'has no checkpoint 3, but [4]'),
  ('--quantiser=round', 2, "no quantiser 'round'; there are: edm, adm"),
  ('--formats=npz,jpeg', 2, "no format 'jpeg'; there are: png, grid, npz"),
])  # fmt: skip
def test_another_protocol_is_refused(
  flag, code, named, whole, trained, refused
):
  before = tree(whole)
  line = refused(
    code, 'sample', f'--workdir={trained}', f'--out={whole}', *FLAGS, flag
  )
  assert named in line
  assert tree(whole) == before


def test_labels_of_a_file(trained, tmp_path, call, refused):
  given = np.array([3, 1, 4, 1, 5])
  np.save(tmp_path / 'given.npy', given)
  code, _, err = call(
    'sample', f'--workdir={trained}', f'--out={tmp_path}/out', *FLAGS,
    f'--labels={tmp_path}/given.npy',
  )  # fmt: skip
  assert code == 0, err
  with np.load(tmp_path / 'out' / 'samples.npz') as found:
    assert found['arr_1'].tolist() == given[np.arange(5, 28) % 5].tolist()
  np.save(tmp_path / 'given.npy', given / 2)
  for name, told in [('given', 'float64 (5,)'), ('none', 'cannot be read')]:
    assert told in refused(
      2, 'sample', f'--workdir={trained}', f'--out={tmp_path}/other',
      f'--labels={tmp_path}/{name}.npy',
    )  # fmt: skip
  assert not (tmp_path / 'other').exists()


def processes(argv, count, folder):
  """Starts a job whose processes write what they say to files."""
  port = jobs.free_port()
  environment = {
    **os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '2',
    'PYTHONPATH': str(tiny.ROOT),
  }  # fmt: skip
  job = [
    f'--coordinator=127.0.0.1:{port}', f'--num_processes={count}',
  ] if count > 1 else []  # fmt: skip
  return [
    subprocess.Popen(
      ['timeout', '-k', '1', '300', sys.executable, '-m', 'difjax', *argv,
       *job, *([f'--process_id={i}'] if job else [])],
      env=environment, cwd=tiny.ROOT, stdout=subprocess.DEVNULL,
      stderr=(folder / f'stderr{i}').open('a'), process_group=0,
    )
    for i in range(count)
  ]  # fmt: skip


def kill(found):
  for process in found:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_fifty_thousand_images_and_ten_kills(trained, tmp_path):
  """By SIGKILL at random, one to three processes; finished by three."""
  flags = (
    'sample', f'--workdir={trained}', '--num=50000', '--block=500',
    '--sampler.grid.steps=20', '--formats=npz',
  )  # fmt: skip
  out, rng = tmp_path / 'out', np.random.default_rng(0)
  done = lambda: len(list(out.glob('blocks/0*.npz')))
  for kills in range(10):
    found = processes((*flags, f'--out={out}'), 1 + kills % 3, tmp_path)
    goal, until = done() + rng.integers(1, 5), time.time() + 200
    while done() < goal and time.time() < until:
      time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2))
    kill(found)
    assert goal <= done() < 100, (tmp_path / 'stderr0').read_text()
  for name, count in (('out', 3), ('whole', 1)):
    found = processes((*flags, f'--out={tmp_path / name}'), count, tmp_path)
    assert [p.wait() for p in found] == [0] * count, (
      tmp_path / 'stderr0'
    ).read_text()
  assert tree(out) == tree(tmp_path / 'whole')
  with np.load(out / 'samples.npz') as found:
    assert found['arr_0'].shape == (50_000, 8, 8, 1)
    assert np.bincount(found['arr_1']).tolist() == [5000] * 10
