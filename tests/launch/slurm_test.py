"""slurm.sbatch under a fake sbatch that requeues, and a fake srun.

The fakes do what Slurm's manuals say of the parts that the script relies on:
sbatch reads the `#SBATCH` lines and runs a copy of the script; srun starts a
process a task with its rank and leaves with the highest code; a requeued job
starts from the top with SLURM_RESTART_COUNT one higher.
"""

from __future__ import annotations

import re

import pytest

from tests.launch import sandbox as sandboxes

TRAIN = ['difjax', 'train', '--config=a.py', "--config.name=it's me"]
SBATCH = """
cp "$1" "$root/spool"
shift
export SLURM_JOB_ID=7 SLURM_SUBMIT_DIR="$PWD" SLURM_RESTART_COUNT=0
while :; do
  rm -f "$root/requeued"
  code=0
  (cd / && bash "$root/spool" "$@") || code=$?
  [ -f "$root/requeued" ] || exit "$code"
  SLURM_RESTART_COUNT=$((SLURM_RESTART_COUNT + 1))
done
"""
SRUN = """
shift
worst=0
for rank in 0 1; do
  code=0
  SLURM_PROCID="$rank" "$@" || code=$?
  [ "$code" -le "$worst" ] || worst="$code"
done
exit "$worst"
"""


@pytest.fixture
def slurm(sandbox):
  sandbox.hook('sbatch', SBATCH)
  sandbox.hook('srun', SRUN)
  sandbox.hook('scontrol', 'touch "$root/requeued"\n')
  return sandbox


def submit(slurm, codes, *, code, env=None):
  """Submits two tasks that leave with `codes`, in the order of their starts."""
  home = slurm.root / 'home'
  (home / 'codes').write_text(''.join(f'{c}\n' for c in codes))
  command = ['sbatch', 'launch/slurm.sbatch', *TRAIN]
  said = slurm.shell(command, env=env or {}, code=code)
  starts = (home / 'trained').read_text().splitlines()
  assert {tuple(start.split('\037')[:-1]) for start in starts} == {
    tuple(TRAIN[1:])
  }
  return said, len(slurm.calls('srun')), slurm.calls('scontrol')


def test_saved_and_started_again(slurm):
  _, starts, requeues = submit(slurm, [42, 42, 0, 0], code=0)
  assert starts == 2
  assert requeues == [['scontrol', 'requeue', '7']]
  ranks = (slurm.root / 'home' / 'environment').read_text()
  assert re.findall(r'SLURM_PROCID=(\d)', ranks) == ['0', '1', '0', '1']


@pytest.mark.parametrize('killed', [134, 137, 143])
def test_killed_and_started_again(slurm, killed):
  _, starts, requeues = submit(slurm, [killed, 42, 0, 0], code=0)
  assert (starts, len(requeues)) == (2, 1)


@pytest.mark.parametrize('fault', [1, 2, 3, 4, 5])
def test_what_would_come_back_is_not_requeued(slurm, fault):
  _, starts, requeues = submit(slurm, [fault, fault], code=fault)
  assert (starts, requeues) == (1, [])


def test_requeues_are_bounded(slurm):
  env = {'DIFJAX_RESTARTS': '2'}
  said, starts, _ = submit(slurm, [42] * 6, code=42, env=env)
  assert starts == 3
  assert 'giving up' in said


def test_nobody_is_killed_for_another_task_that_left(slurm):
  submit(slurm, [0, 0], code=0)
  [[*_, first]] = [call[:2] for call in slurm.calls('srun')]
  assert first == '--kill-on-bad-exit=0'


def test_proxies_do_not_reach_the_tasks(slurm):
  slurm.hook('srun', 'env | grep -i _proxy; exit 0\n')
  (slurm.root / 'home' / 'trained').write_text('\037'.join([*TRAIN[1:], '\n']))
  env = {'https_proxy': 'http://proxy:1', 'HTTP_PROXY': 'http://proxy:1'}
  said, *_ = submit(slurm, [], code=0, env=env)
  assert 'proxy' not in said


def test_what_slurm_is_asked_for():
  text = (sandboxes.LAUNCH / 'slurm.sbatch').read_text()
  # Slurm stops reading at the first line that is no comment.
  header = text[: text.index('\nset ')]
  asked = dict(re.findall(r'^#SBATCH --([a-z-]+)=?(.*)$', header, re.MULTILINE))
  assert len(asked) == text.count('#SBATCH')
  assert asked['signal'] == 'TERM@120'  # to the steps: no B: before it
  assert asked['open-mode'] == 'append'
  assert 'requeue' in asked
  assert asked['ntasks-per-node'] == asked['gpus-per-node']
