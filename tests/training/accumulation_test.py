"""Gradients in parts: the gradient of the whole, and one tick of everything."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from difjax import data, errors, pytree, training
from difjax.training import accumulation
from difjax.training import mesh as meshes
from difjax.training import trainer as trainers
from tests import tiny

PIPELINE = data.Pipeline(source=data.Digits(), batch_size=32, threads=1)


def in_parts(parts):
  """Returns a Trainer of `Mean` with a schedule, Adam and an average."""
  trainer = tiny.mean_trainer(data=PIPELINE)
  optimiser = dataclasses.replace(trainer.optimiser, accumulate=parts)
  return dataclasses.replace(trainer, optimiser=optimiser)


def steps(trainer, count):
  """Returns (state after so many steps, last metrics, the program's text)."""
  mesh = trainers.build_mesh(trainer)
  with jax.set_mesh(mesh):
    jitted, abstract = trainers.compiled(trainer, mesh)
    placed = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    probe = trainer.data.rows(0, np.arange(1))
    state = jax.jit(
      lambda: trainers.initial(trainer, probe), out_shardings=placed
    )()
    for step in range(count):
      rows = trainer.data.rows(step, np.arange(trainer.data.batch_size))
      batch = jax.device_put(rows, meshes.batch_sharding(mesh))
      text = jitted.lower(state, batch).compile().as_text()
      state, metrics = jax.block_until_ready(jitted(state, batch))
  return jax.device_get(state), jax.device_get(metrics), text


def test_parts_are_one_step():
  """Parameters, moments, averages, counters; the rate follows its warm-up."""
  whole, expected, _ = steps(in_parts(1), 3)
  state, metrics, text = steps(in_parts(4), 3)
  for (path, leaf), truth in zip(
    pytree.named_leaves(state), jax.tree.leaves(whole), strict=True
  ):
    if path != 'aux/batches':
      np.testing.assert_allclose(leaf, truth, rtol=1e-5, err_msg=path)
  assert int(state.step) == 3
  assert int(state.aux['batches']) == 12  # the objective sees each part
  for key, value in expected.items():
    np.testing.assert_allclose(metrics[key], value, rtol=1e-5, err_msg=key)
  for kind in ('all-gather', 'all-to-all', 'collective-permute'):
    assert f' {kind}(' not in text  # rows stay where they are


def test_parts_draw_noise_of_their_own():
  """The mean of what the objective gives for rows j, j + k, ... and key j."""
  trainer = tiny.trainer()
  objective = dataclasses.replace(trainer.objective, network=tiny.Affine())
  trainer = dataclasses.replace(trainer, objective=objective)
  rows = trainer.data.rows(0, np.arange(4))
  batch = {**rows, 'image': rows['image'] / np.float32(127.5) - 1}
  params = jax.tree.map(
    lambda leaf: leaf + 0.1,
    jax.jit(lambda: trainers.initial(trainer, rows).params)(),
  )
  key = jax.random.key(5)

  @jax.jit
  def one(batch, key):
    return objective.gradients(
      params, (), None, batch, key, step=0, ema={}
    )

  parts = [
    one({name: x[j::2] for name, x in batch.items()},
        jax.random.fold_in(key, j))
    for j in range(2)
  ]  # fmt: skip
  expected = jax.tree.map(lambda a, b: (a + b) / 2, *parts)
  found = jax.jit(
    lambda: accumulation.gradients(
      objective, 2, params, (), None, batch, key, step=0, ema={}
    )
  )()
  for (path, leaf), truth in zip(
    pytree.named_leaves(found), jax.tree.leaves(expected), strict=True
  ):
    size = np.abs(truth).max()
    assert np.abs(leaf - truth).max() <= 1e-5 * size, path
  assert parts[0][0][0] != parts[1][0][0]


@pytest.mark.parametrize('parts', [0, 3, 8])
def test_parts_that_the_batch_has_not_are_refused(parts, tmp_path):
  with pytest.raises(errors.ConfigError, match=f'32 .* in {parts} parts'):
    training.train(in_parts(parts), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
