"""Gradients of a large batch, a part of it at a time.

A batch of B rows is cut into k parts of B / k; with g_j the gradient of part j,

  g = (1 / k) sum_j g_j,                                                  (1)

which is the gradient of the whole batch where a loss is a mean over rows. Parts
follow one another in a scan, so that the activations of one part at a time are
in memory. All of it is one step: optimiser, learning rate, averages and
counters see one gradient and tick once.

Part j draws noise and times from fold_in(key, j): its rows are not those draws
that the whole batch would get, but draws as good.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from difjax.networks import layers
from difjax.objectives import base
from difjax.typing import Array, Batch, Key, Metrics, Params, PyTree


def gradients(
  objective: base.Objective,
  parts: int,
  params: Params,
  aux: PyTree,
  frozen: PyTree,
  batch: Batch,
  key: Key,
  *,
  step: Array,
  ema: dict[str, Params],
) -> tuple[tuple[Array, tuple[Metrics, PyTree]], Params]:
  """Returns what `objective.gradients` does, by (1).

  Losses and metrics are means over the parts; the objective's state goes from
  one part to the next.

  Args:
    objective: what is trained.
    parts: k, which divides the rows of the batch.
    params: what is trained.
    aux: the objective's state.
    frozen: parameters that the objective uses and does not train.
    batch: arrays [B, ...].
    key: of the step.
    step: steps done.
    ema: averages of the parameters.
  """
  one = lambda aux, batch, key: objective.gradients(
    params, aux, frozen, batch, key, step=step, ema=ema
  )
  if parts == 1:
    return one(aux, batch, key)

  def body(
    carry: tuple[PyTree, PyTree], part: tuple[Array, Batch]
  ) -> tuple[tuple[PyTree, PyTree], None]:
    aux, total = carry
    j, rows = part
    rows = jax.tree.map(lambda x: layers.constrain(x, 'batch'), rows)
    (loss, (metrics, aux)), grads = one(aux, rows, jax.random.fold_in(key, j))
    found = (loss, metrics, grads)
    return (aux, jax.tree.map(jnp.add, total, found)), None

  cut = jax.tree.map(lambda x: _cut(x, parts), batch)
  (loss, (metrics, _)), grads = jax.eval_shape(
    one, aux, jax.tree.map(lambda x: x[0], cut), key
  )
  zero = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, grads)
  )
  (aux, total), _ = jax.lax.scan(
    body, (aux, zero), (jnp.arange(parts), cut)
  )
  loss, metrics, grads = jax.tree.map(lambda x: x / parts, total)
  return (loss, (metrics, aux)), grads


def _cut(x: Array, parts: int) -> Array:
  """Turns [B, ...] into [k, B / k, ...]: part j has the rows j, j + k, ...

  Rows that follow one another lie on one device; so each device has its share
  of every part, and nothing is moved.
  """
  return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)
