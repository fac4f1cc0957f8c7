"""What is known of a run before it runs, counted by hand."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import environment, training
from difjax.training import facts, topology
from difjax.training import trainer as trainers
from tests import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product(tiny.Mean):
  """A loss with one product of matrices, [B, 64] by [64, 5]."""

  def init(self, key, batch):
    """Starts at zero."""
    return {'w': jnp.zeros((64, 5))}

  def loss(self, params, aux, frozen, batch, key, *, step, ema):
    """Makes the product again in the backward pass, which does not count."""
    flat = batch['image'].reshape(len(batch['image']), 64)
    made = jax.checkpoint(jnp.matmul)(flat, params['w'])
    return jnp.mean(made**2), ({}, aux)


def found(trainer, **fields):
  mesh = trainers.build_mesh(trainer)
  _, abstract = trainers.compiled(trainer, mesh)
  return dataclasses.replace(facts.of(trainer, mesh, abstract), **fields)


@pytest.fixture(scope='module')
def product():
  """The facts of that loss, on a batch of 8 split over 8 devices."""
  return found(tiny.mean_trainer(objective=Product(), mesh=tiny.FSDP))


def test_counts(product):
  assert product.flops == 3 * 2 * 8 * 64 * 5
  assert product.parameters == 64 * 5
  assert product.devices == '8 x cpu'
  assert product.chips == 8
  assert product.mesh == {'data': 1, 'fsdp': 8, 'tensor': 1}
  assert product.peak is None
  assert product.read_bytes == 8 * 64
  # An image of 8 x 8 bytes and a label of four.
  assert product.batch_bytes == 8 * (64 + 4)


def test_bytes_of_the_state(product):
  """Parameters, two moments and an average; six counters beside them.

  The counters: of the step, skipped steps, their streak, the objective's
  batches, and those of Adam and of the schedule.
  """
  assert product.state_bytes == 4 * 320 * 4 + 6 * 4
  assert product.device_bytes == product.state_bytes // 8 + 6 * 4 - 3
  assert product.copied_bytes == 6 * 4


def test_mfu_is_the_share_of_the_peak(product):
  assert product.mfu(0.1) is None
  fast = dataclasses.replace(product, flops=6_000_000, peak=1e9)
  assert fast.mfu(0.01) == pytest.approx(0.6)


def test_the_peak_is_that_of_all_devices(monkeypatch):
  chip = topology.Chip(kind='cpu', flops=5e9, memory=1, bandwidth=1, links=1)
  monkeypatch.setattr(topology, 'of_kind', {'cpu': chip}.get)
  assert found(tiny.mean_trainer()).peak == 8 * 5e9
  alone = found(tiny.mean_trainer(mesh=tiny.OneDevice()))
  assert alone.peak == 5e9


def test_augmentation_is_seen_and_not_counted():
  """The network's own condition has nine labels more."""
  plain = found(tiny.mean_trainer(objective=Product()))
  warped = found(
    tiny.mean_trainer(objective=Product(), augment=training.Augmentation())
  )
  assert warped.flops == plain.flops


def test_lines_for_people(product):
  big = dataclasses.replace(
    product, parameters=675_129_632, state_bytes=10_802_074_112,
    device_bytes=1_350_259_264, copied_bytes=24,
    flops=182_200_000_000_000, peak=1.576e15,
    devices='8 x TPU v5 lite', batch_size=256, batch_bytes=256 * 16_388,
    examples=1_281_167, read_bytes=256 * 110_000,
  )  # fmt: skip
  assert big.lines() == [
    'devices     8 x TPU v5 lite, mesh data 1 x fsdp 8 x tensor 1, '
    '1.58e+15 FLOP/s at the most',
    'parameters  675,129,632',
    'state       10.1 GiB, 1.26 GiB on a device, of which 24 B on all alike',
    'batch       256 images of 16 KiB',
    'data        1,281,167 examples, 26.9 MiB are read a step',
    'step        1.82e+14 FLOPs, counted',
  ]
  assert 'at the most' not in product.lines()[0]


def test_every_start_is_kept(product, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=/nowhere')
  monkeypatch.setenv('DIFJAX_PASSWORD', 'secret')
  for first in (0, 7):
    facts.publish(product, tmp_path, first)
  starts = json.loads((tmp_path / 'run.json').read_text())
  assert [start['step'] for start in starts] == [0, 7]
  assert starts[0]['flags']['XLA_FLAGS'] == '--xla_dump_to=/nowhere'
  assert 'secret' not in (tmp_path / 'run.json').read_text()
  assert starts[1]['versions']['jax'] == jax.__version__
  assert starts[1]['parameters'] == 320
  assert starts[1]['processes'] == 1
  shown = capsys.readouterr().err.splitlines()
  assert shown == 2 * product.lines()


def test_a_torn_file_of_starts_stops_no_run(product, tmp_path):
  (tmp_path / 'run.json').write_text('[{"step": ')
  facts.publish(product, tmp_path, 3)
  assert [start['step'] for start in facts.read_starts(tmp_path)] == [3]


def test_a_run_that_goes_on_says_where(tmp_path):
  trainer = tiny.mean_trainer(steps=2)
  training.train(trainer, tmp_path)
  training.train(dataclasses.replace(trainer, steps=4), tmp_path)
  assert [start['step'] for start in facts.read_starts(tmp_path)] == [0, 2]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
  """A repository of one commit; returns that and its folder."""
  root = tmp_path / 'checkout'
  (root / 'difjax').mkdir(parents=True)
  file = root / 'difjax' / 'environment.py'
  file.write_text('')
  monkeypatch.setattr(environment, '__file__', str(file))

  def git(*words):
    who = ('-c', 'user.name=a', '-c', 'user.email=a@b')
    done = subprocess.run(
      ('git', '-C', root, *who, *words), check=True, capture_output=True,
      text=True,
    )  # fmt: skip
    return done.stdout.strip()

  git('init', '-q')
  git('add', '-A')
  git('commit', '-q', '-m', 'first')
  return git('rev-parse', 'HEAD'), root


def test_the_commit(checkout):
  commit, root = checkout
  assert environment.commit() == commit
  (root / 'difjax' / 'environment.py').write_text('changed')
  assert environment.commit() == f'{commit}-dirty'


def test_no_commit_of_another_repository(checkout, monkeypatch):
  """As of an environment that lies in a checkout of the user's own work."""
  _, root = checkout
  file = root / 'site-packages' / 'difjax' / 'environment.py'
  monkeypatch.setattr(environment, '__file__', str(file))
  assert environment.commit() is None


def test_shapes_are_those_of_the_batches():
  trainer = tiny.mean_trainer()
  rows = trainer.data.rows(0, np.arange(8))
  expected = sum(value.nbytes for value in rows.values())
  assert found(trainer).batch_bytes == expected
