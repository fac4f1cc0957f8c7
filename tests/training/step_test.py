"""One step: its gradients on any mesh, what it changes, what it donates."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from difjax import pytree, training
from difjax.training import mesh as meshes
from difjax.training import trainer as trainers
from tests import tiny

KEY = 11  # of a step


def gradients(objective, mesh, params, batch):
  """Returns loss and gradients, computed on a mesh, as numpy arrays."""
  built = mesh.build()
  with jax.set_mesh(built):
    placed = training.shardings(params, tiny.DIT_RULES, built)
    step = jax.jit(
      lambda params, batch: objective.gradients(
        params, (), None, batch, jax.random.key(KEY), step=0, ema={}
      ),
      in_shardings=(placed, meshes.batch_sharding(built)),
      out_shardings=meshes.replicated(built),
    )
    (loss, _), grads = step(params, batch)
    return jax.device_get((loss, grads))


@pytest.mark.parametrize(  # `loop_test` splits the parameters in eight
  ('kind', 'mesh', 'bound'),
  [
    ('float32', training.Mesh(), 1e-5),
    ('float32', training.Mesh(data=2, fsdp=2, tensor=2), 1e-5),
    ('float64', training.Mesh(data=1, fsdp=2, tensor=4), 1e-12),
  ],
)
def test_gradients_do_not_depend_on_the_mesh(kind, mesh, bound):
  """At parameters away from zero, against one device."""
  dtype = np.dtype(kind)
  with jax.enable_x64(dtype == np.float64):
    trainer = tiny.trainer()
    network = trainer.objective.network.clone(dtype=dtype, heads=4)
    objective = dataclasses.replace(trainer.objective, network=network)
    rng = np.random.default_rng(0)
    probe = trainer.data.rows(0, np.arange(16))
    shapes = jax.eval_shape(lambda: trainers.initial(trainer, probe).params)
    params = jax.tree.map(
      lambda leaf: 0.3 * rng.standard_normal(leaf.shape).astype(dtype), shapes
    )
    images = probe['image'] / dtype.type(127.5) - 1
    batch = {'image': images.astype(dtype), 'label': probe['label']}
    loss, truth = gradients(objective, tiny.OneDevice(), params, batch)
    found_loss, found = gradients(objective, mesh, params, batch)
  assert found_loss.dtype == dtype
  np.testing.assert_allclose(found_loss, loss, rtol=bound)
  for (path, leaf), expected in zip(
    pytree.named_leaves(found), jax.tree.leaves(truth), strict=True
  ):
    size = np.abs(expected).max()
    assert size > 0, path
    assert leaf.dtype == dtype, path
    assert np.abs(leaf - expected).max() <= bound * size, path


def prepared(trainer):
  """Returns (compiled step, first state, first batch) on all devices."""
  mesh = trainer.mesh.build()
  jitted, abstract = trainers.compiled(trainer, mesh)
  rows = trainer.data.rows(0, np.arange(trainer.data.batch_size))
  placed = jax.tree.map(lambda leaf: leaf.sharding, abstract)
  state = jax.jit(
    lambda: trainers.initial(trainer, rows), out_shardings=placed
  )()
  return jitted, state, jax.device_put(rows, meshes.batch_sharding(mesh))


def test_a_step_is_that_of_optax_by_hand():
  """Two steps of the mean's gradient, which is known: 2 (w - x) / 64."""
  trainer = tiny.mean_trainer()
  jitted, state, batch = prepared(trainer)
  mean = (np.asarray(batch['image'], np.float64) / 127.5 - 1).mean(axis=0)
  w, rule = np.zeros_like(mean), trainer.optimiser.transformation()
  params, moments = {'w': jnp.asarray(w, jnp.float32)}, None
  average = np.zeros_like(mean)
  for n in range(2):
    grads = {'w': jnp.asarray(2 * (params['w'] - mean) / mean.size)}
    moments = rule.init(params) if moments is None else moments
    updates, moments = rule.update(grads, moments, params)
    params = optax.apply_updates(params, updates)
    decay = (1 + n) / (10 + n)
    average = decay * average + (1 - decay) * np.asarray(params['w'])
    state, _ = jitted(state, batch)
  np.testing.assert_allclose(state.params['w'], params['w'], rtol=1e-5)
  np.testing.assert_allclose(state.ema['main']['w'], average, rtol=1e-5)
  assert int(state.aux['batches']) == int(state.step) == 2


def test_metrics_are_loss_norm_and_the_objectives_own():
  jitted, state, batch = prepared(tiny.mean_trainer())
  images = np.asarray(batch['image'], np.float64) / 127.5 - 1
  gradient = -2 * images.mean(axis=0) / 64
  _, metrics = jitted(state, batch)
  assert set(metrics) == {
    'loss', 'grad_norm', 'param_norm', 'update_norm', 'at', 'skipped',
    'streak', 'learning_rate', 'ema/decay_main',
  }  # fmt: skip
  np.testing.assert_allclose(metrics['loss'], (images**2).mean(), rtol=1e-6)
  norm = np.linalg.norm(gradient)
  np.testing.assert_allclose(metrics['grad_norm'], norm, rtol=1e-5)


def test_norms_of_parameters_and_update():
  """Adam moves each number by the rate when gradients stay: 1/8 of 1e-2."""
  jitted, state, batch = prepared(tiny.mean_trainer())
  state, _ = jitted(state, batch)  # at the rate 0: nothing moves
  _, metrics = jitted(state, batch)
  for name in ('param_norm', 'update_norm'):  # of 64 numbers
    np.testing.assert_allclose(metrics[name], 8 * 1e-2 / 8, rtol=1e-2)
  np.testing.assert_allclose(metrics['learning_rate'], 1e-2 / 8, rtol=1e-6)


def test_dequantised_batches_are_new_at_every_step():
  """The mean's gradient, -2 mean(x) / 64 at w = 0, shows what a step saw."""
  jitted, state, batch = prepared(tiny.mean_trainer(dequantise=True))
  levels = np.asarray(batch['image'], np.float64)
  whole = (levels + 0.5) / 128 - 1  # the middle of each level's interval
  width = 1 / 128
  losses = []
  for _ in range(2):
    zero = jax.tree.map(jnp.zeros_like, state.params)
    state, metrics = jitted(state.replace(params=zero), batch)
    losses.append(float(metrics['loss']))
  exact = (whole**2).mean() + width**2 / 12
  error = np.sqrt((4 * whole**2 * width**2 / 12).mean() / whole.size)
  assert np.abs(np.asarray(losses) - exact).max() < 4 * error
  assert losses[0] != losses[1]
  assert abs(exact - ((levels / 127.5 - 1) ** 2).mean()) > 10 * error


def test_the_state_is_donated():
  jitted, state, batch = prepared(tiny.mean_trainer(mesh=tiny.FSDP))
  jitted(state, batch)
  kept = [p for p, x in pytree.named_leaves(state) if not x.is_deleted()]
  assert not kept
  assert not batch['image'].is_deleted()


class InfiniteGradient(tiny.Mean):
  """A gradient that is not finite under a loss that is."""

  def gradients(self, params, aux, frozen, batch, key, *, step, ema):
    """Divides by zero at the first step."""
    found, grads = super().gradients(
      params, aux, frozen, batch, key, step=step, ema=ema
    )
    return found, jax.tree.map(lambda g: g / step, grads)


@pytest.mark.parametrize(
  'objective', [tiny.Mean(bad=(0,)), InfiniteGradient()], ids=['nan', 'inf']
)
def test_a_step_that_is_not_finite_changes_counters_alone(objective):
  jitted, state, batch = prepared(
    tiny.mean_trainer(objective=objective, optimiser=training.Optimiser())
  )
  before = jax.device_get(state)
  state, metrics = jitted(state, batch)
  for name in ('params', 'opt_state', 'ema', 'aux'):
    then, now = getattr(before, name), getattr(state, name)
    assert pytree.digest(then) == pytree.digest(now), name
  assert [int(state.step), int(state.skipped), int(state.streak)] == [1, 1, 1]
  assert not np.isfinite(metrics['loss'] + metrics['grad_norm'])
  state, _ = jitted(state, batch)
  assert [int(state.step), int(state.skipped), int(state.streak)] == [2, 1, 0]
  assert np.abs(state.params['w']).max() > 0


@pytest.mark.parametrize(('above', 'skipped'), [(0.99, 1), (1.01, 0)])
def test_a_step_whose_gradient_spikes_is_left_out(above, skipped):
  jitted, state, batch = prepared(tiny.mean_trainer())
  norm = float(jitted(state, batch)[1]['grad_norm'])
  jitted, state, batch = prepared(tiny.mean_trainer(spike=above * norm))
  before = pytree.digest(state.opt_state)
  state, _ = jitted(state, batch)
  assert [int(state.skipped), int(state.streak)] == [skipped, skipped]
  assert (pytree.digest(state.opt_state) == before) == bool(skipped)


def test_the_first_state():
  trainer = tiny.trainer()
  probe = trainer.data.rows(0, np.arange(1))
  first = jax.jit(
    lambda seed: trainers.initial(
      dataclasses.replace(trainer, seed=seed), probe
    )
  )
  state, digest = first(3), pytree.digest
  assert digest(state.ema) == digest({'main': state.params})
  assert not any(np.any(x) for x in jax.tree.leaves(state.opt_state))
  assert [int(state.step), int(state.skipped), int(state.streak)] == [0, 0, 0]
  assert digest(first(4).params) != digest(state.params)
  assert {str(x.dtype) for x in jax.tree.leaves(state.params)} == {'float32'}
