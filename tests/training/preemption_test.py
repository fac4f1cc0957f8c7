"""SIGTERM at any step: saved, code 42, and no bit lost."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import threading

import jax
import pytest

from difjax import errors, pytree, training
from difjax.training import checkpoint, events, preemption
from tests import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notice:
  """A hook that sends this process SIGTERM after a step."""

  every: int

  def __call__(self, run, step, state):
    """Sends it, once."""
    if step == self.every:
      os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """The digest of 12 steps."""
  workdir = tmp_path_factory.mktemp('whole')
  return pytree.digest(training.train(tiny.mean_trainer(), workdir))


@pytest.mark.parametrize('seed', range(5))
def test_the_last_step_is_saved(seed, uninterrupted, tmp_path):
  """The notice comes in a hook, so the step after it is the last."""
  step = random.Random(seed).randrange(1, 11)
  trainer = tiny.mean_trainer(hooks=(Notice(every=step),))
  with pytest.raises(errors.RetryError, match=f'step {step + 1} is saved'):
    training.train(trainer, tmp_path)
  saver = checkpoint.Checkpointer(tmp_path, trainer.checkpoints)
  assert saver.steps()[-1] == step + 1
  saver.close()
  rows = events.read(tmp_path)
  assert (rows[-1]['event'], rows[-1]['code']) == ('exit', 42)
  assert rows[-1]['step'] == step + 1
  state = training.train(tiny.mean_trainer(), tmp_path)
  assert pytree.digest(state) == uninterrupted
  assert [r['from'] for r in events.read(tmp_path) if 'from' in r] == [
    0, step + 1
  ]  # fmt: skip


def test_a_notice_at_the_last_step_comes_too_late(tmp_path):
  """The run is done, and saved: it ends as one that was left alone."""
  trainer = tiny.mean_trainer(steps=4, hooks=(Notice(every=3),))
  assert int(training.train(trainer, tmp_path).step) == 4
  assert events.read(tmp_path)[-1]['code'] == 0


def test_the_handler_is_put_back():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.Preemption() as notice:
    assert not notice.reached(1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert notice.reached(2)
  assert signal.getsignal(signal.SIGTERM) is before


def test_beside_the_main_thread_nothing_is_installed():
  before, found = signal.getsignal(signal.SIGTERM), []

  def listen():
    with preemption.Preemption() as notice:
      found.append(signal.getsignal(signal.SIGTERM))
      found.append(notice.reached(1))

  thread = threading.Thread(target=listen)
  thread.start()
  thread.join()
  assert found == [before, False]


@pytest.mark.parametrize(
  'text',
  [
    'Gloo AllReduce failed: [pair.cc:547] Connection closed by peer [10.0.0.2]',
    'NCCL operation ncclAllReduce failed: remote process exited',
    'DEADLINE_EXCEEDED: Barrier timed out. Id: save',
    'UNAVAILABLE: The tasks have crashed: heartbeat timeout',
  ],
)
def test_a_lost_peer_is_told_by_its_error_or_the_cause(text):
  assert preemption.lost(ValueError(f'INTERNAL\n{text}')) == text
  try:
    raise errors.CheckpointError('it failed') from ValueError(text)
  except errors.CheckpointError as error:
    assert preemption.lost(error) == text


@pytest.mark.parametrize(
  'error',
  [
    errors.DataError('img.png is no picture'), MemoryError(),
    ValueError('RESOURCE_EXHAUSTED: out of memory'),
  ],
)  # fmt: skip
def test_other_errors_are_not_for_want_of_a_peer(error):
  assert preemption.lost(error) is None


def test_who_has_a_peer_leaves_at_once(monkeypatch, capfd):
  codes, noted = [], []
  monkeypatch.setattr(os, '_exit', codes.append)
  error = ValueError('Gloo: Connection reset by peer')

  def fail():
    with preemption.Peers(noted.append):
      raise error

  with pytest.raises(ValueError, match='Gloo'):
    fail()  # alone
  assert codes == noted == []
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match='Gloo'):
    fail()
  assert codes == noted == [42]
  assert 'lost a peer: Gloo' in capfd.readouterr().err
