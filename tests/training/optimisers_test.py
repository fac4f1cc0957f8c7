"""The chain of the optimiser against chains of optax made by hand."""

from __future__ import annotations

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
