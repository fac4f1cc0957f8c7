"""Dry runs print the exact commands: those recorded, and those then run.

The recordings in tests/golden/launch/ are for a reader to judge a change by.
What makes them true is the second test: run for real on fakes, the launcher
calls exactly what its dry run printed.
"""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from tests.launch import sandbox as sandboxes

GOLDEN = sandboxes.REPOSITORY / 'tests' / 'golden' / 'launch'
TRAIN = [
  'difjax', 'train', '--config=configs/imagenet64/dit_b4.py',
  '--workdir=runs/dit', '--config.checkpoints.directory=gs://bucket/run',
  '--config.data.source.path=my images',
]  # fmt: skip
POD = {
  'DIFJAX_TPU': 'pod', 'DIFJAX_ZONE': 'us-west4-a',
  'DIFJAX_TPU_TYPE': 'v5litepod-16',
}  # fmt: skip
QUEUED = POD | {
  'DIFJAX_QUEUED': '1', 'DIFJAX_SPOT': '1', 'DIFJAX_PROJECT': 'lab',
  'DIFJAX_TPU_TYPE': 'v6e-64',
}  # fmt: skip
HOSTS = {'DIFJAX_HOSTS': 'me@gpu-a gpu-b'}
TPUS = {
  'DIFJAX_JOB': 'dit', 'DIFJAX_IMAGE': 'europe-docker.pkg.dev/lab/ml/difjax',
  'DIFJAX_ACCELERATOR': 'tpu-v5-lite-podslice', 'DIFJAX_TOPOLOGY': '4x4',
  'DIFJAX_NODES': '4', 'DIFJAX_SLICES': '2',
}  # fmt: skip
GPUS = {
  'DIFJAX_CHIP': 'gpu', 'DIFJAX_JOB': 'dit', 'DIFJAX_NODES': '2',
  'DIFJAX_IMAGE': 'europe-docker.pkg.dev/lab/ml/difjax',
  'DIFJAX_ACCELERATOR': 'nvidia-h100-80gb',
}  # fmt: skip
SECRETS = {'DIFJAX_SECRETS': 'secrets.env'}

# name of the recording: (launcher, arguments, environment)
RUNS = {
  'tpu_create': ('tpu_pod.sh', ['create'], POD),
  'tpu_create_queued': ('tpu_pod.sh', ['create'], QUEUED),
  'tpu_setup': ('tpu_pod.sh', ['setup'], POD | SECRETS),
  'tpu_run': ('tpu_pod.sh', ['run', *TRAIN], POD),
  'tpu_status': ('tpu_pod.sh', ['status'], POD),
  'tpu_logs': ('tpu_pod.sh', ['logs'], POD),
  'tpu_stop': ('tpu_pod.sh', ['stop'], POD),
  'tpu_delete': ('tpu_pod.sh', ['delete'], POD),
  'tpu_delete_queued': ('tpu_pod.sh', ['delete'], QUEUED),
  'gpu_setup': ('gpu_ssh.sh', ['setup'], HOSTS | SECRETS),
  'gpu_run': ('gpu_ssh.sh', ['run', *TRAIN], HOSTS),
  'gpu_status': ('gpu_ssh.sh', ['status'], HOSTS),
  'gpu_stop': ('gpu_ssh.sh', ['stop'], HOSTS),
  'gke_image': ('gke/gke.sh', ['image'], TPUS),
  'gke_apply_tpu': ('gke/gke.sh', ['apply', *TRAIN], TPUS | SECRETS),
  'gke_apply_gpu': ('gke/gke.sh', ['apply', *TRAIN], GPUS),
  'gke_status': ('gke/gke.sh', ['status'], TPUS),
  'gke_logs': ('gke/gke.sh', ['logs'], TPUS),
  'gke_stop': ('gke/gke.sh', ['stop'], TPUS),
  'gke_resume': ('gke/gke.sh', ['resume'], TPUS),
  'gke_delete': ('gke/gke.sh', ['delete'], TPUS),
  'sky_tpu': ('sky/sky.sh', ['tpu', *TRAIN],
              {'DIFJAX_SECRET_NAMES': 'WANDB_API_KEY'}),
  'sky_gpu': ('sky/sky.sh', ['gpu', *TRAIN], {'DIFJAX_JOB': 'dit'}),
  'sky_status': ('sky/sky.sh', ['status'], {}),
  'sky_logs': ('sky/sky.sh', ['logs'], {}),
  'sky_stop': ('sky/sky.sh', ['stop'], {}),
}  # fmt: skip
# Those whose dry run shows what comes later, or what no fake takes the place
# of.
SHOWN = RUNS | {
  'tpu_watch': ('tpu_pod.sh', ['watch', *TRAIN], POD | {'DIFJAX_POLL': '60'}),
  'slurm': ('slurm.sbatch', TRAIN, {}),
  'local': ('local.sh', ['--processes=2', '--restarts=5', *TRAIN], {}),
}


def dry(sandbox, name):
  script, argv, env = SHOWN[name]
  said = sandbox.run(script, '--dry-run', *argv, env=env)
  assert not sandbox.calls()
  assert not (sandbox.repository / '.cache').exists()
  return said


@pytest.mark.parametrize('name', SHOWN)
def test_dry_run(sandbox, name):
  said = dry(sandbox, name).replace(str(sandbox.repository), 'REPOSITORY')
  assert said == (GOLDEN / f'{name}.txt').read_text()


def test_no_recording_is_left_over():
  assert {path.stem for path in GOLDEN.glob('*.txt')} == set(SHOWN)


@pytest.mark.parametrize('name', RUNS)
def test_what_a_dry_run_prints_is_what_is_run(sandbox, name):
  printed = re.sub(r" <<'YAML'\n(.*\n)*?YAML\n", '\n', dry(sandbox, name))
  script, argv, env = RUNS[name]
  (sandbox.repository / 'secrets.env').write_text(f'K={sandboxes.SECRET}\n')
  sandbox.replies('queue', 'ACTIVE')
  sandbox.hook('gcloud', 'case "$*" in *describe*) next queue ;; esac\n')
  sandbox.hook('kubectl', 'cat >/dev/null </dev/stdin\n')
  sandbox.run(script, *argv, env=env)
  lines = map(shlex.split, printed.splitlines())
  commands = [line for line in lines if line and line[0] in sandboxes.CLOUDS]
  assert commands
  assert sandbox.calls() == commands


def test_goldens_name_no_machine():
  for path in GOLDEN.glob('*.txt'):
    assert str(pathlib.Path.home()) + '/' not in path.read_text(), path
