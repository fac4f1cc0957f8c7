"""The chain of the optimiser against chains of optax made by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from difjax import training

PARAMS = {'a': jnp.asarray([3.0, -4.0]), 'b': jnp.asarray([[12.0]])}


def run(transformation, steps=3):
  """Follows the gradient of |p|^2 / 2, which is p."""
  params, state = PARAMS, transformation.init(PARAMS)
  for _ in range(steps):
    updates, state = transformation.update(params, state, params)
    params = optax.apply_updates(params, updates)
  return np.concatenate([np.ravel(x) for x in params.values()])


schedule = optax.linear_schedule(0.1, 0.01, 3)
negate = optax.stateless(lambda updates, params: {
  key: -value + params[key] for key, value in updates.items()
})  # fmt: skip


@pytest.mark.parametrize(
  ('fields', 'chain'),
  [
    ({}, [optax.clip_by_global_norm(1.0), optax.scale_by_adam()]),
    ({'clip_norm': None}, [optax.scale_by_adam()]),
    (
      {'clip_norm': 0.5, 'weight_decay': 0.3},
      [
        optax.clip_by_global_norm(0.5),
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.3),
      ],
    ),
    (
      {'rule': optax.trace(0.9), 'clip_norm': None, 'weight_decay': 0.3},
      [optax.trace(0.9), optax.add_decayed_weights(0.3)],
    ),
  ],
)
def test_order(fields, chain):
  found = training.Optimiser(schedule=schedule, **fields).transformation()
  by_hand = optax.chain(*chain, optax.scale_by_learning_rate(schedule))
  np.testing.assert_array_equal(run(found), run(by_hand))


def test_the_constraint_comes_last_and_sees_the_parameters():
  found = training.Optimiser(
    rule=optax.identity(), clip_norm=None, schedule=schedule, constraint=negate
  )
  by_hand = optax.chain(optax.scale_by_learning_rate(schedule), negate)
  np.testing.assert_array_equal(
    run(found.transformation()), run(by_hand)
  )


def test_clipping_bounds_the_first_step_of_plain_descent():
  """|p| = 13 is scaled to 2, then by the rate 0.1."""
  found = training.Optimiser(
    rule=optax.identity(), clip_norm=2.0, schedule=schedule
  ).transformation()
  start = np.asarray([3.0, -4.0, 12.0])
  np.testing.assert_allclose(
    run(found, steps=1), start * (1 - 0.1 * 2 / 13), rtol=1e-6
  )


def test_weights_keep_unit_length_and_the_rest_moves():
  """Each output's weights, whatever the update; a gain is no weight."""
  keys = jax.random.split(jax.random.key(0), 4)
  params = {
    'stem': {'kernel': 5 * jax.random.normal(keys[0], (3, 3, 2, 4))},
    'head': {'kernel': jax.random.normal(keys[1], (6, 3))},
    'gain': jnp.ones(()), 'encoding': {'phases': jnp.ones(3)},
  }  # fmt: skip
  rule = training.Optimiser(
    clip_norm=None, rule=optax.identity(), schedule=lambda step: 0.1,
    constraint=training.unit_weights(),
  ).transformation()  # fmt: skip
  grads = jax.tree.map(lambda a: 0.5 * a + 1, params)
  updates, _ = rule.update(grads, rule.init(params), params)
  moved = optax.apply_updates(params, updates)
  for name in ('stem', 'head'):
    stepped = params[name]['kernel'] - 0.1 * grads[name]['kernel']
    axes = tuple(range(stepped.ndim - 1))
    length = jnp.sqrt((stepped**2).mean(axes))
    np.testing.assert_allclose(
      moved[name]['kernel'], stepped / (length + 1e-4), atol=1e-6
    )
  assert moved['gain'] == pytest.approx(1 - 0.1 * 1.5)
  np.testing.assert_allclose(moved['encoding']['phases'], 1 - 0.1 * 1.5)


@pytest.mark.parametrize(
  ('step', 'rate'),
  [(0, 0), (5, 0.1), (10, 0.2), (40, 0.2), (160, 0.1), (4000, 0.02)],
)
def test_a_ramp_a_plateau_and_a_root(step, rate):
  schedule = training.inverse_root_schedule(
    peak_value=0.2, ramp_steps=10, decay_steps=40
  )
  assert float(schedule(jnp.int32(step))) == pytest.approx(rate, rel=1e-6)


def test_a_root_schedule_without_ramp_or_decay():
  flat = training.inverse_root_schedule(0.2, 0, math.inf)
  assert [float(flat(jnp.int32(n))) for n in (0, 10**6)] == [
    pytest.approx(0.2), pytest.approx(0.2)]  # fmt: skip
  for steps in ((-1, 40), (10, 0)):
    with pytest.raises(ValueError, match='above 0'):
      training.inverse_root_schedule(0.2, *steps)
