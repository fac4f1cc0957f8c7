"""Jobs of several processes: who they are, and that their number is no matter.

R7 of the scale tests: processes and devices come and go between starts; data,
losses and parameters do not change.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from difjax import __main__, errors, supervisor
from difjax.data import tar_index
from difjax.training import distributed, writers
from tests import job_config
from tests.data import tars
from tests.training import jobs, restored

CONFIG = pathlib.Path(job_config.__file__)
STEPS = 12


def command(workdir, steps=STEPS, *, more=(), **mesh):
  """Returns the arguments of `difjax` that train on a mesh to a step."""
  return [
    'train', f'--config={CONFIG}', f'--workdir={workdir}',
    f'--config.steps={steps}', *more,
    *(f'--config.mesh.{axis}={size}' for axis, size in mesh.items()),
  ]  # fmt: skip


def train(workdir, steps=STEPS, *, processes, devices=1, by='flags', **mesh):
  """Trains as a job."""
  argv = ['-m', 'difjax', *command(workdir, steps, **mesh)]
  return jobs.run(argv, processes, devices, by)


def losses(workdir):
  rows = writers.read_metrics(workdir)
  assert [row['step'] for row in rows] == list(range(1, len(rows) + 1))
  return np.array([row['train/loss'] for row in rows])


def seen(workdir):
  """Returns the logged examples, row by row."""
  lines = (workdir / 'indices.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == list(range(1, len(rows) + 1))
  pairs = [zip(row['epoch'], row['index'], strict=True) for row in rows]
  return list(itertools.chain(*pairs))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The run that one process with eight devices never stops."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  assert __main__.main(command(workdir, data=8)) == 0
  return workdir


def check_alike(workdir, whole):
  """Checks the losses, and that each example came once an epoch, in order."""
  np.testing.assert_allclose(losses(workdir), losses(whole), rtol=1e-5)
  assert seen(workdir) == seen(whole)
  for epoch in range(3):
    examples = [i for e, i in seen(workdir) if e == epoch]
    assert sorted(examples) == list(range(21))


APART = """
import os, sys
from difjax import __main__
own = '--workdir={root}/' + os.environ['DIFJAX_PROCESS_ID']
sys.exit(__main__.main({argv} + [own]))
"""


@pytest.mark.slow
def test_machines_that_share_no_folder(whole, tmp_path):
  """Each its own work directory, and one for checkpoints; one is replaced."""
  bucket = f'--config.checkpoints.directory={tmp_path}/bucket'
  for steps in (6, STEPS):
    argv = [*command('', steps, data=2), bucket]
    argv.remove('--workdir=')
    script = APART.format(root=tmp_path, argv=argv)
    jobs.run(['-c', script], 2, by='environment')
    assert (tmp_path / '1' / 'config.json').exists()
    # A start that hung leaves this, and must not tie the work directory.
    (tmp_path / '1' / 'stacks-1.txt').write_text('...')
    if steps < STEPS:
      shutil.rmtree(tmp_path / '0')
  rows = writers.read_metrics(tmp_path / '0')
  assert [row['step'] for row in rows] == list(range(7, STEPS + 1))
  found = np.array([row['train/loss'] for row in rows])
  np.testing.assert_allclose(found, losses(whole)[6:], rtol=1e-5)
  assert supervisor.newest(tmp_path / '1') == STEPS


def test_processes_come_and_go(whole, tmp_path):
  """One, two by Slurm, two by Open MPI, one with eight devices again."""
  workdir = tmp_path / 'run'
  assert __main__.main(command(workdir, 3, data=4, fsdp=2)) == 0
  first = restored.digest(workdir, (4, 2, 1))
  said = train(workdir, 6, processes=2, devices=2, by='slurm', fsdp=2)
  assert 'mesh data 2 x fsdp 2 x tensor 1' in said[0]
  assert 'mesh ' not in said[1]  # one process speaks
  assert restored.digest(workdir, (4, 2, 1)) != first
  check_pictures(workdir, whole)
  train(workdir, 9, processes=2, by='openmpi', fsdp=2)
  digests = {
    restored.digest(workdir, sizes)
    for sizes in [(1, 2, 1), (2, 4, 1), (1, 1, 1), (2, 2, 2)]
  }
  assert len(digests) == 1
  assert __main__.main(command(workdir, data=2, tensor=2, fsdp=2)) == 0
  check_alike(workdir, whole)


def check_pictures(workdir, whole):
  """Checks what one process drew of parameters that two of them hold."""
  first, second = (
    np.asarray(Image.open(path / 'samples' / '00000006.png'), np.int64)
    for path in (workdir, whole)
  )
  assert np.abs(first - second).max() <= 1
  assert first.std() > 10


@pytest.mark.slow
def test_one_two_four_and_one_processes(whole, tmp_path):
  """And what each job restores is what the one before it saved, bit by bit."""
  workdir = tmp_path / 'run'
  train(workdir, 3, processes=1, devices=4, by='environment', fsdp=4)
  check_restored(workdir, 2, (1, 2, 1))
  train(workdir, 6, processes=2, devices=2, by='environment', fsdp=2, tensor=2)
  check_restored(workdir, 4, (2, 2, 1))
  train(workdir, 9, processes=4, by='flags', fsdp=2)
  check_restored(workdir, 1, (1, 1, 1))
  train(workdir, processes=1, by='flags')
  check_alike(workdir, whole)


@pytest.mark.slow
def test_tar_shards_come_once_an_epoch_to_however_many(tmp_path):
  """One, two, four and one processes on 21 samples, two tars at a time."""
  for k in range(3):
    tars.write(tmp_path / 'tars' / f'{k}.tar', tars.samples(7, first=7 * k))
  tar_index.write(tmp_path / 'tars')
  source = '--config.data.source'
  more = [
    f'{source}.type=data.Shards', f'{source}.path={tmp_path / "tars"}',
    f'{source}.channels=1', f'{source}.label=cls', f'{source}.classes=10',
    '--config.data.window=2',
  ]  # fmt: skip
  whole, workdir = tmp_path / 'whole', tmp_path / 'run'
  assert __main__.main(command(whole, more=more, data=8)) == 0
  train(workdir, 2, processes=1, by='environment', more=more)
  train(workdir, 5, processes=2, by='environment', more=more)
  train(workdir, 8, processes=4, by='environment', more=more)
  train(workdir, processes=1, by='environment', more=more)
  check_alike(workdir, whole)


def check_restored(workdir, processes, sizes):
  argv = ['-m', 'tests.training.restored', str(workdir), *map(str, sizes)]
  said = jobs.run(argv, processes, by='environment')
  found = {line for text in said for line in text.splitlines()
           if line.startswith('digest')}  # fmt: skip
  assert found == {f'digest {restored.digest(workdir, (2, 4, 1))}'}


@pytest.mark.parametrize('sizes', [(2, 2, 1), (1, 1, 1), (1, 4, 2)])
def test_devices_come_and_go(sizes, whole, tmp_path):
  """Eight devices, then fewer or others: equal bits at the restart."""
  workdir = tmp_path / 'run'
  shutil.copytree(whole, workdir)
  assert restored.digest(workdir, sizes) == restored.digest(whole, (8, 1, 1))


NOBODY = ('DIFJAX_COORDINATOR', 'DIFJAX_NUM_PROCESSES', 'DIFJAX_PROCESS_ID')


@pytest.fixture
def alone(monkeypatch):
  """An environment in which nothing says anything of a job."""
  for name in [*os.environ]:
    if name in NOBODY or name.startswith(('SLURM_', 'OMPI_', 'TPU_')):
      monkeypatch.delenv(name)
  return monkeypatch


@pytest.mark.parametrize(
  'said',
  [
    {},
    {'DIFJAX_NUM_PROCESSES': '1'},  # whatever a platform says
    {'DIFJAX_COORDINATOR': '', 'DIFJAX_PROCESS_ID': ''},
    {'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '8'},  # not under srun
    {'OMPI_COMM_WORLD_SIZE': '1', 'OMPI_COMM_WORLD_RANK': '0'},
  ],
)
def test_one_process_is_no_job(said, alone):
  for name, value in said.items():
    alone.setenv(name, value)
  assert not distributed.initialize()


@pytest.mark.parametrize(
  ('said', 'platform'),
  [
    (jobs.VARIABLES['slurm'](62_000, 2, 0), 'Slurm'),
    (jobs.VARIABLES['openmpi'](62_000, 2, 0), 'Open MPI'),
    ({'TPU_WORKER_HOSTNAMES': 'a,b', 'TPU_WORKER_ID': '0'}, 'Cloud TPU'),
    (
      {'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '0'},
      'Kubernetes',
    ),
    ({'KUBERNETES_SERVICE_HOST': '10.0.0.1'}, None),  # a pod of no job
  ],
)
def test_platforms(said, platform):
  assert distributed.detected(said) == platform


@pytest.mark.parametrize(
  ('flags', 'line'),
  [
    (['--coordinator=host:1'], 'coordinator alone: add --num_processes or DI'),
    (
      ['--coordinator=host:1', '--num_processes=2'],
      'add --process_id or DIFJAX_PROCESS_ID',
    ),
    (
      ['--coordinator=host', '--num_processes=2', '--process_id=0'],
      '--coordinator=host: write HOST:PORT',
    ),
    (
      ['--coordinator=host:1', '--num_processes=2', '--process_id=2'],
      '--process_id=2 of --num_processes=2: they count from 0',
    ),
    (['--num_processes=two'], '--num_processes=two: give whole numbers'),
  ],
)
def test_half_a_job_is_one_line(flags, line, alone, tmp_path, capsys):
  assert __main__.main([*command(tmp_path / 'run'), *flags]) == 2
  said = capsys.readouterr().err.splitlines()
  assert len(said) == 1
  assert line in said[0]
  assert not (tmp_path / 'run').exists()


def test_a_job_after_a_device_was_touched_is_one_line(alone):
  alone.setenv('DIFJAX_COORDINATOR', 'localhost:1')
  alone.setenv('DIFJAX_NUM_PROCESSES', '1')
  alone.setenv('DIFJAX_PROCESS_ID', '0')
  jax.devices()
  with pytest.raises(errors.ConfigError, match='cannot join its job') as e:
    distributed.initialize()
  assert '\n' not in str(e.value)
