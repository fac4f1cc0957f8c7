"""Benchmarks of devices measure what they say; how fast is no test's business.

What is meant for accelerators runs here by the same code, on CPUs and small.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from difjax import errors
from difjax.cli import train
from difjax.evaluation import bench, peers, speed
from difjax.networks import attention
from difjax.training import facts, topology
from difjax.training import trainer as trainers
from tests import tiny, tiny_config


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


@pytest.fixture
def clock(monkeypatch):
  """Makes ours take 2 s and the other 4 s, and still runs them once."""

  def in_turn(rounds, *actions):
    for action in actions:
      action()
    return [tuple(2.0 * (i + 1) for i in range(len(actions)))] * rounds

  monkeypatch.setattr(bench, 'in_turn', in_turn)


def bfloat16(dtype):
  spec = tiny_config.get_config().to_dict()
  spec['objective']['network']['dtype'] = dict(ref=f'jax.numpy.{dtype}')
  return train.build(spec)


def test_a_loop_beside_its_bare_step(monkeypatch):
  monkeypatch.setattr(
    bench, 'loop_rounds', lambda *given: [(0.3, 0.2), (0.2, 0.2)]
  )
  (figure,) = speed.LoopSpeed(
    title='a model', trainer=tiny.mean_trainer(), steps=7
  ).measure(2)
  record = figure.record()
  assert record['unit'] == 'ms'
  assert record['ours']['rounds'] == pytest.approx([300, 200])
  assert record['ratio']['rounds'] == pytest.approx([2 / 3, 1])


def test_a_sampler_beside_its_calls(monkeypatch):
  monkeypatch.setattr(
    bench, 'sampling_rounds', lambda *given: (35, [(2.0, 1.0)])
  )
  (figure,) = speed.SamplerSpeed(
    title='a model', trainer=tiny.mean_trainer(), sampler=None
  ).measure(1)
  record = figure.record()
  assert record['ours']['median'] == bench.BLOCK / 2
  assert record['ratio']['median'] == 0.5
  assert '35' in figure.name
  assert '35' in figure.beside


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other:
  """A peer that does nothing, or is not installed."""

  batch_size: int = 2
  shape: tuple[int, int, int] = (8, 8, 1)
  num_classes: int = 10
  draws: int = 1
  rate: float = 1e-3
  installed: bool = True

  def label(self):
    """Names it."""
    return 'other 1.0'

  def labels(self):
    """Returns classes."""
    return peers.DiffusersPeer.labels(self)

  def actions(self):
    """Does nothing."""
    if not self.installed:
      raise errors.ConfigError('pip install other')
    return 1, dict.fromkeys(
      ('forward', 'draw', 'train', 'features'), lambda: None
    )


@pytest.mark.parametrize('installed', [True, False])
def test_a_network_beside_a_peer_or_alone(installed, clock):
  trainer = tiny.trainer()
  found = speed.PeerSpeed(
    title='a DiT', objective=trainer.objective, optimiser=trainer.optimiser,
    peer=Other(installed=installed),
  ).measure(2)  # fmt: skip
  assert [figure.name for figure in found] == [
    'a DiT, batch 2: a call', 'a DiT, batch 2: 1 steps of DDIM',
    'a DiT, batch 2: a training step',
  ]  # fmt: skip
  for record in (figure.record() for figure in found):
    assert record['ours']['rounds'] == [2000.0] * 2
    if installed:
      assert record['beside'] == 'other 1.0'
      assert record['ratio']['rounds'] == [2.0] * 2
    else:
      assert record['beside'] is None
      assert record['note'] == 'pip install other'


def test_half_precision_beside_single_with_its_mfu(clock, monkeypatch):
  half, single = bfloat16('bfloat16'), bfloat16('float32')
  chip = topology.Chip(
    kind='cpu', flops=1e6, memory=1e9, bandwidth=1e9, links=1e9
  )
  monkeypatch.setattr(topology, 'of_kind', lambda kind: chip)
  step, mfu = speed.StepSpeed(
    title='a DiT in bfloat16', trainer=half, rival=single, beside='in float32',
    steps=4,
  ).measure(2)  # fmt: skip
  record = step.record()
  assert record['ours']['rounds'] == [16 / (2 / 4)] * 2
  assert record['ratio']['rounds'] == [2.0] * 2
  assert step.note == ''
  place = trainers.build_mesh(half)
  counted = facts.of(half, place, trainers.compiled(half, place)[1]).flops
  peak = len(jax.devices()) * 1e6
  assert mfu.record()['ours']['median'] == pytest.approx(
    100 * counted / 0.5 / peak
  )
  assert mfu.unit == '%'


def test_a_step_is_one_of_training_on_a_chip_of_unknown_peak(monkeypatch):
  seen, run = [], bench.run_steps

  def noted(*given):
    state = run(*given)
    seen.append((int(state.step), float(jnp.abs(state.params['w']).max())))
    return state

  monkeypatch.setattr(bench, 'run_steps', noted)
  trainer = tiny.mean_trainer()
  (figure,) = speed.StepSpeed(
    title='', trainer=trainer, rival=trainer, beside='', steps=3
  ).measure(2)
  assert 'no MFU: the peak of' in figure.note
  ours = seen[::2]
  assert [step for step, _ in ours] == [3, 6, 9]
  assert 0 < ours[0][1] < ours[1][1]


@pytest.mark.parametrize('kind', ['steps', 'attention'])
def test_what_is_for_other_devices_says_so(kind):
  trainer = tiny.mean_trainer()
  made = {
    'steps': speed.StepSpeed(
      title='', trainer=trainer, rival=trainer, beside='', backends=('gpu',)
    ),
    'attention': speed.AttentionSpeed(
      title='', shape=(1, 2, 1, 8), implementation='cudnn'
    ),
  }[kind]
  assert made.unsuited() == 'needs gpu, and this is a cpu'
  here = dataclasses.replace(made, backends=('gpu', 'cpu'))
  assert here.unsuited() is None


def test_attention_by_one_implementation_beside_others(clock, monkeypatch):
  seen, attend = [], attention.attend

  def noted(q, k, v, implementation):
    seen.append((implementation, q.dtype, q.shape, k.shape, v.shape))
    return attend(q, k, v, implementation)

  monkeypatch.setattr(attention, 'attend', noted)
  shape = (2, 4, 2, 8)
  found = speed.AttentionSpeed(
    title='a DiT', shape=shape, implementation='xla', rivals=(None,), calls=4
  ).measure(1)
  (record,) = (figure.record() for figure in found)
  assert [each[0] for each in seen] == ['xla', None]
  assert all(each[1:] == (jnp.bfloat16, *[shape] * 3) for each in seen)
  assert record['ours']['median'] == 2000.0 / 4
  assert record['theirs']['median'] == 4000.0 / 4
  assert record['beside'] == "difjax's default"
  assert 'jax.nn (xla)' in record['name']


def test_calls_of_attention_are_queued(monkeypatch):
  """So a round is many calls and the host waits once."""
  called, waited, jit = [], [], jax.jit

  def counted(function):
    compiled = jit(function)
    return lambda *given: (called.append(1), compiled(*given))[1]

  benchmark = speed.AttentionSpeed(
    title='', shape=(1, 2, 1, 8), implementation=None, calls=7
  )
  monkeypatch.setattr(speed.jax, 'jit', counted)
  monkeypatch.setattr(speed.jax, 'block_until_ready', waited.append)
  benchmark._action(None)()
  assert (len(called), len(waited)) == (7, 1)


class Features(NamedTuple):
  """What the network below gives."""

  pool_3: Any


class Small(nn.Module):
  """Stands for Inception."""

  @nn.compact
  def __call__(self, x):
    """Maps [B, 6, 6, 3] to features."""
    assert x.shape[1:] == (6, 6, 3)
    return Features(nn.Dense(5)(x).mean((1, 2)))


@pytest.mark.parametrize('peer', [None, Other(), Other(installed=False)])
def test_features_a_second(peer, clock):
  (figure,) = speed.FeatureSpeed(
    network=Small, size=(6, 6), batch_size=4, side=3, peer=peer
  ).measure(1)
  record = figure.record()
  assert record['ours']['median'] == 4 / 2
  if peer is not None and peer.installed:
    assert record['theirs']['median'] == 2 / 4  # of its own batch size
    assert record['ratio']['median'] == 4
  else:
    assert record['beside'] is None
    assert record['note'] == ('' if peer is None else 'pip install other')
