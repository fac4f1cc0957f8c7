"""A TPU slice that comes, is preempted, fails: tpu_pod.sh on a fake gcloud.

The fake's workers are homes on this machine, on which the real worker.sh runs.
"""

from __future__ import annotations

import pytest

from tests.launch import sandbox as sandboxes

ENV = {
  'DIFJAX_TPU': 'pod', 'DIFJAX_ZONE': 'us-west4-a',
  'DIFJAX_TPU_TYPE': 'v5litepod-8', 'DIFJAX_SECRETS': 'secrets.env',
}  # fmt: skip
TRAIN = ['difjax', 'train', '--config=a.py', "--config.name=it's me"]
HOOK = """
case "$*" in
  *'tpu-vm list'*) next states ;;
  *'queued-resources describe'*) next queue ;;
  *'tpu-vm scp'*)
    for home in "$root"/worker*; do cp "$5" "$home/${6#*:}"; done
    ;;
  *'tpu-vm ssh'*)
    echo 'SSH: Attempting to connect to worker 0...' >&2
    for word in "$@"; do
      case "$word" in --command=*) command="${word#--command=}" ;; esac
    done
    for home in "$root"/worker*; do on "$home" "$command" || exit; done
    ;;
esac
"""


@pytest.fixture
def pod(sandbox):
  """A slice of two workers, before anybody asked for it."""
  sandbox.hook('gcloud', HOOK)
  (sandbox.repository / 'secrets.env').write_text(
    f'WANDB_API_KEY={sandboxes.SECRET}\n'
  )
  return sandbox


def verbs(pod):
  """Lists what gcloud was asked for, without the looks."""
  found = []
  for call in pod.calls('gcloud'):
    command = [w for w in call if w.startswith('--command=')]
    word = ' '.join(call[3:5])
    if command and 'worker.sh' in command[0]:
      word = 'worker.sh ' + command[0].split('worker.sh ')[1].split()[0]
    found.append(word)
  return [word for word in found if word != 'tpu-vm list']


def watch(pod, *, code=0, env=None):
  return pod.run('tpu_pod.sh', 'watch', *TRAIN, env=ENV | (env or {}),
                 code=code)  # fmt: skip


SETUP = ['tpu-vm scp', 'tpu-vm ssh', 'tpu-vm scp', 'worker.sh install']
MAKE = ['tpu-vm delete', 'tpu-vm create', *SETUP, 'worker.sh start']


def without_status(words):
  return [word for word in words if word != 'worker.sh status']


def test_from_nothing_to_done(pod):
  homes = [pod.machine(f'worker{i}', 0) for i in range(2)]
  pod.replies('states', 'other READY', 'pod READY')
  said = watch(pod)
  assert 'tpu_pod.sh delete' in said  # what it still costs
  assert without_status(verbs(pod)) == MAKE
  for home in homes:
    assert home.joinpath('trained').read_text().split('\037')[:-1] == TRAIN[1:]
    secrets = home / 'difjax-secrets'
    assert sandboxes.SECRET in secrets.read_text()
    assert secrets.stat().st_mode & 0o777 == 0o600


def test_preempted_and_made_again(pod):
  pod.machine('worker0', 'wait', 0)
  pod.machine('worker1', 'wait', 0)
  pod.replies('states', '', 'pod READY', 'pod PREEMPTED', 'pod READY')
  # The machines go with their processes when the slice is deleted.
  pod.hook('gcloud', (pod.root / 'hooks' / 'gcloud').read_text() + """
case "$*" in *'tpu-vm delete'*)
  for home in "$root"/worker*; do
    kill -9 $(cat "$home"/difjax-run/{keeper,pid})
    rm -rf "$home/difjax-run"
  done ;;
esac
""")
  watch(pod)
  assert without_status(verbs(pod)) == MAKE + MAKE


@pytest.mark.parametrize('last', [42, 137])
def test_what_may_be_started_again_is(pod, last):
  pod.machine('worker0', last, 0)
  pod.machine('worker1', 0, 0)
  pod.replies('states', '', 'pod READY')
  watch(pod)
  words = without_status(verbs(pod))
  assert words == [*MAKE, 'worker.sh start']


@pytest.mark.parametrize('fault', [1, 2, 3, 4, 5])
def test_what_would_come_back_ends_it(pod, fault):
  pod.machine('worker0', 134)  # aborted, as its peer is gone
  pod.machine('worker1', fault)
  pod.replies('states', '', 'pod READY')
  watch(pod, code=fault)
  assert without_status(verbs(pod)) == MAKE


def test_it_gives_up(pod):
  pod.machine('worker0', *[42] * 9)
  pod.replies('states', '', 'pod READY')
  said = watch(pod, env={'DIFJAX_RESTARTS': '3'}, code=42)
  assert 'giving up after 3 starts' in said
  assert verbs(pod).count('worker.sh start') == 3


def test_no_chips_is_tried_again(pod):
  pod.machine('worker0', 0)
  pod.replies('states', '', '', 'pod READY')
  pod.replies('create', 'false', 'true')
  hook = (pod.root / 'hooks' / 'gcloud').read_text()
  pod.hook('gcloud', hook + """
case "$*" in *'tpu-vm create'*) $(next create) ;; esac
""")
  assert 'recreate failed' in watch(pod)
  assert verbs(pod).count('tpu-vm create') == 2


def test_a_gcloud_without_network_loses_no_slice(pod):
  pod.machine('worker0', 0)
  pod.replies('list', 'false', 'false', 'true')
  pod.replies('states', 'pod READY')
  hook = (pod.root / 'hooks' / 'gcloud').read_text()
  pod.hook('gcloud', """
case "$*" in *'tpu-vm list'*) $(next list) || exit 1 ;; esac
""" + hook)
  pod.run('tpu_pod.sh', 'run', *TRAIN, env=ENV)
  assert 'gcloud does not answer' in watch(pod)
  assert 'tpu-vm delete' not in verbs(pod)


@pytest.mark.parametrize(('deaf', 'made'), [(9, 0), (10, 1)])
def test_workers_that_never_answer_are_replaced(pod, deaf, made):
  pod.machine('worker0', 0, 0)
  pod.replies('states', 'pod READY')
  pod.replies('answer', *['exit 255'] * deaf, 'true')
  pod.run('tpu_pod.sh', 'run', *TRAIN, env=ENV)
  hook = (pod.root / 'hooks' / 'gcloud').read_text()
  pod.hook('gcloud', """
case "$*" in *'worker.sh status'*) $(next answer) ;; esac
""" + hook)
  watch(pod)
  assert verbs(pod).count('tpu-vm create') == made


def test_stopped_by_hand_stays_stopped(pod):
  pod.machine('worker0', 'wait', 0)
  pod.replies('states', 'pod READY')
  pod.run('tpu_pod.sh', 'run', *TRAIN, env=ENV)
  pod.run('tpu_pod.sh', 'stop', env=ENV)
  watch(pod, code=42)
  assert verbs(pod).count('worker.sh start') == 1


def test_a_queued_slice_is_waited_for(pod):
  pod.machine('worker0', 0)
  pod.replies('states', '', 'pod READY')
  pod.replies('queue', 'SUSPENDED', 'WAITING_FOR_RESOURCES', 'PROVISIONING',
              'ACTIVE')  # fmt: skip
  watch(pod, env={'DIFJAX_QUEUED': '1'})
  words = [w for w in without_status(verbs(pod)) if 'describe' not in w]
  assert words == [
    'queued-resources delete', 'queued-resources create', *SETUP,
    'worker.sh start',
  ]  # fmt: skip


def test_a_request_in_the_queue_keeps_its_place(pod):
  pod.machine('worker0', 0)
  pod.replies('states', '', '', 'pod READY')
  pod.replies('queue', 'WAITING_FOR_RESOURCES')
  env = ENV | {'DIFJAX_QUEUED': '1'}
  pod.run('tpu_pod.sh', 'run', *TRAIN, env=env)
  watch(pod, env={'DIFJAX_QUEUED': '1'})
  assert 'queued-resources delete' not in verbs(pod)


def test_a_request_that_failed_says_so(pod):
  pod.replies('queue', 'WAITING_FOR_RESOURCES', 'FAILED')
  said = pod.run(
    'tpu_pod.sh', 'create', env=ENV | {'DIFJAX_QUEUED': '1'}, code=1
  )
  assert 'the queued request pod is FAILED' in said


def test_gclouds_failure_is_the_launchers(pod):
  pod.hook('gcloud', 'exit 7\n')
  for verb in ('create', 'setup', 'delete', 'status'):
    pod.run('tpu_pod.sh', verb, env=ENV, code=7)
