"""Plans of small steps on this machine's devices, against what they must be."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from difjax import errors, networks, training
from difjax.evaluation import compiler, plan, plan_page
from difjax.networks import costs
from difjax.training import topology
from difjax.training import trainer as trainers
from tests import tiny

SIDE = 8  # of a digit, so that its mean image has 64 numbers


@pytest.fixture(scope='module')
def whole():
  """Finding the mean on 8 devices that hold all of it."""
  return plan.make(tiny.mean_trainer())


def test_what_is_replicated_is_summed(whole):
  numbers = SIDE * SIDE
  assert whole.parameters == numbers
  assert whole.chips == 8
  assert whole.mesh == {'data': 8, 'fsdp': 1, 'tensor': 1}
  assert whole.replicated_bytes == whole.state_bytes
  # The image, two moments and an average, and a few counters.
  assert 0 <= whole.state_bytes - 4 * 4 * numbers < 64
  assert whole.least_bytes == 2 * 4 * numbers
  (kind,) = {t.kind for t in whole.collectives if t.bytes > 64}
  assert kind == 'all-reduce'
  assert whole.least_bytes <= whole.sent_bytes < 1.2 * whole.least_bytes
  assert whole.flops == 0  # no products
  assert whole.seconds == {}  # the CPU's peak is nobody's to know
  assert whole.mfu is None


def test_what_is_split_takes_an_eighth():
  found = plan.make(tiny.mean_trainer(mesh=tiny.FSDP))
  numbers = SIDE * SIDE
  assert 0 <= found.state_bytes - 4 * 4 * numbers // 8 < 64
  assert found.replicated_bytes < 64
  assert found.least_bytes == 3 * 4 * numbers  # two gathered, one scattered


def test_operations_are_those_of_the_network():
  trainer = tiny.trainer()
  found = plan.make(trainer)
  image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), jnp.float32)
  noise = jax.ShapeDtypeStruct((1,), jnp.float32)
  label = {'label': jax.ShapeDtypeStruct((1,), jnp.int32)}
  each = costs.of_network(trainer.objective.network, image, noise, label)
  assert found.flops == 6 * trainer.data.batch_size * each
  assert found.memory_needed >= found.state_bytes
  assert found.compile_seconds > 0


def test_an_evaluation_is_a_third_of_a_step():
  found = plan.make(tiny.trainer(mesh=tiny.FSDP, rules=tiny.SPLIT_ALL),
                    sampling=True)
  image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), jnp.float32)
  trainer = tiny.trainer()
  each = costs.of_network(
    trainer.objective.network, image, jax.ShapeDtypeStruct((1,), jnp.float32),
    {'label': jax.ShapeDtypeStruct((1,), jnp.int32)},
  )  # fmt: skip
  assert found.flops == 2 * trainer.data.batch_size * each
  assert found.step == 'sampling'
  # Most is split eightfold and gathered once; small axes cannot be.
  assert found.state_bytes < 4 * found.parameters / 4


def test_the_roofline_is_its_highest_side(whole):
  chip = topology.Chip(
    kind='?', flops=1e3, memory=1e4, bandwidth=1e3, links=1e2
  )
  work = dataclasses.replace(whole, flops=80_000, state_bytes=1_000)
  seconds = plan._seconds(work, chip, 2)
  assert seconds['compute'] == 10.0  # 80,000 over 8 devices of 1,000
  assert seconds['memory'] == 2.0
  assert seconds['links'] == pytest.approx(work.sent_bytes / 100)
  bound = dataclasses.replace(work, seconds=seconds | {'links': 40.0})
  assert bound.step_seconds == 40.0
  assert bound.mfu == 0.25


def test_text_and_picture(whole):
  text = plan_page.text(whole)
  assert 'parameters   64' in text
  assert 'all-reduce' in text
  assert 'not known' in text
  assert plan_page.bars(whole).startswith(b'\x89PNG')
  known = dataclasses.replace(
    whole, memory_there=2**34, seconds=dict(compute=1e-3, memory=0, links=4e-3)
  )
  text = plan_page.text(known)
  assert 'of 16 GiB (0%)' in text
  assert '4 ms a step at least' in text
  assert 'MFU at most 25%' in text
  assert plan_page.bars(known).startswith(b'\x89PNG')


@pytest.mark.parametrize(('count', 'text'), [
  (0, '0 B'), (999, '999 B'), (1024, '1 KiB'), (1.5 * 2**20, '1.5 MiB'),
  (16 * 2**30, '16 GiB'),
])
def test_sizes(count, text):
  assert plan_page.size(count) == text


def exhausted(text):
  return RuntimeError(f'RESOURCE_EXHAUSTED: {text}')


USED = 'Ran out of memory in memory space hbm. Used 133.36G of 15.75G hbm.'


def test_what_does_not_fit_is_told_what_to_change():
  trainer = tiny.trainer()
  mesh = trainers.build_mesh(trainer)
  error = compiler.refusal(exhausted(USED), trainer, mesh, 12 * 2**30)
  assert error.exit_code == 2
  text = str(error)
  for part in (
    '133.4 GiB of 15.8 GiB', '12.00 GiB of it', 'config.mesh.fsdp=2',
    'config.objective.network.remat=True', 'config.data.batch_size=8 (now 16)',
  ):  # fmt: skip
    assert part in text
  assert '\n' not in text


def test_only_what_helps_is_advised():
  network = networks.DiT(remat=True)
  objective = dataclasses.replace(tiny.trainer().objective, network=network)
  data = dataclasses.replace(tiny.trainer().data, batch_size=8)
  trainer = tiny.trainer(objective=objective, data=data)
  mesh = trainers.build_mesh(trainer)
  text = str(compiler.refusal(exhausted(USED), trainer, mesh, 2**20))
  assert 'fsdp' not in text  # the state is small
  assert 'remat' not in text  # done already
  assert 'batch_size' not in text  # one row a device
  assert 'more or larger chips' in text


def test_other_refusals_are_passed_on():
  trainer = tiny.trainer()
  mesh = trainers.build_mesh(trainer)
  error = compiler.refusal(RuntimeError('INTERNAL: x\ny'), trainer, mesh, 1)
  assert str(error) == 'the compiler refuses: INTERNAL: x'


def test_without_libtpu_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr(compiler, 'versions', lambda: {'libtpu': None})
  with pytest.raises(errors.ConfigError, match=r'pip install difjax\[plan\]'):
    compiler.devices(topology.parse('v5e-256'))


class Torus(training.Mesh):
  """A mesh that does not lie in a torus, as jax says it."""

  def build(self, devices=None):
    """Refuses."""
    raise NotImplementedError('Failed to find assignment')


def test_a_mesh_that_no_torus_has_is_refused():
  with pytest.raises(errors.ConfigError, match='mesh: Failed to find'):
    trainers.build_mesh(tiny.trainer(mesh=Torus()))


def test_a_mesh_for_given_devices():
  trainer = tiny.trainer(mesh=training.Mesh(data=2, fsdp=-1))
  mesh = trainers.build_mesh(trainer, jax.devices()[:4])
  assert dict(mesh.shape) == {'data': 2, 'fsdp': 2, 'tensor': 1}
