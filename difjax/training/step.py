"""The training step, one pure function of state and batch.

Randomness is fold_in(key(seed), step), so a restart continues the same streams
without storing keys. A step whose loss or gradient is not finite changes
nothing but the counters: parameters, moments, averages and the objective's
state all stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from difjax.data import device
from difjax.objectives import base
from difjax.training import accumulation, augmentation
from difjax.training import ema as emas
from difjax.training import state as states
from difjax.typing import Array, Batch, Key, Metrics, PyTree

Step = Callable[
  [states.TrainState, Batch], tuple[states.TrainState, Metrics]
]
_INIT, _TRAIN, _DEQUANTISE, _AUGMENT = 0, 1, 2, 3  # streams of the seed


def init_state(
  objective: base.Objective,
  optimiser: optax.GradientTransformation,
  averages: Mapping[str, emas.EMA],
  batch: Batch,
  seed: int,
) -> states.TrainState:
  """Makes the state before the first step, for batches like `batch`."""
  key = jax.random.fold_in(jax.random.key(seed), _INIT)
  params = objective.init(key, batch)
  return states.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=optimiser.init(params),
    ema={name: jax.tree.map(jnp.copy, params) for name in averages},
    aux=objective.init_aux(),
    skipped=jnp.zeros((), jnp.int32),
    streak=jnp.zeros((), jnp.int32),
  )


def make_step(
  objective: base.Objective,
  optimiser: optax.GradientTransformation,
  averages: Mapping[str, emas.EMA],
  seed: int,
  frozen: PyTree = None,
  *,
  parts: int = 1,
  spike: float = math.inf,
  dequantise: bool = False,
  augment: augmentation.Augmentation | None = None,
) -> Step:
  """Returns the step (state, batch) -> (state, metrics), to be compiled.

  Args:
    objective: what is trained.
    optimiser: how.
    averages: the averages to keep, by name.
    seed: of noise and times.
    frozen: parameters that the objective uses and does not train.
    parts: of a batch, whose gradients are accumulated.
    spike: norm of the gradient from which on a step is left out.
    dequantise: whether bytes become reals by `device.dequantise`.
    augment: what changes the batch before the objective sees it.
  """

  def step(
    state: states.TrainState, batch: Batch
  ) -> tuple[states.TrainState, Metrics]:
    key = _key(seed, _TRAIN, state.step)
    batch = _prepared(batch, seed, state.step, dequantise, augment)
    (loss, (metrics, aux)), grads = accumulation.gradients(
      objective, parts, state.params, state.aux, frozen, batch, key,
      step=state.step, ema=state.ema,
    )  # fmt: skip
    norm = optax.tree.norm(grads)
    updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = {
      name: emas.update(rule, state.ema[name], params, state.step)
      for name, rule in averages.items()
    }
    sound = jnp.isfinite(loss) & (norm < spike)  # NaN is below nothing
    following = _following(state, sound, (params, opt_state, ema, aux))
    return following, {
      'loss': loss, 'grad_norm': norm,
      'param_norm': optax.tree.norm(following.params),
      'update_norm': optax.tree.norm(updates), **metrics,
      'skipped': following.skipped, 'streak': following.streak,
    }  # fmt: skip

  return step


def _following(
  state: states.TrainState, sound: Array, new: tuple[PyTree, ...]
) -> states.TrainState:
  """The next state; one that was left out changes counters alone."""
  old = (state.params, state.opt_state, state.ema, state.aux)
  params, opt_state, ema, aux = jax.tree.map(
    lambda new, old: jnp.where(sound, new, old), new, old
  )
  return states.TrainState(
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    ema=ema,
    aux=aux,
    skipped=state.skipped + ~sound,
    streak=jnp.where(sound, 0, state.streak + 1),
  )


def _prepared(
  batch: Batch,
  seed: int,
  step: Array,
  dequantise: bool,
  augment: augmentation.Augmentation | None,
) -> Batch:
  """What the objective sees: images in [-1, 1], perhaps augmented."""
  image = batch['image']
  if dequantise:
    image = device.dequantise(image, _key(seed, _DEQUANTISE, step))
  batch = {**batch, 'image': device.to_unit_range(image)}
  if augment is None:
    return batch
  return augment(batch, _key(seed, _AUGMENT, step))


def _key(seed: int, stream: int, step: Array) -> Key:
  return jax.random.fold_in(
    jax.random.fold_in(jax.random.key(seed), stream), step
  )
