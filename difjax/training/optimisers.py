"""The optimiser: a chain of optax, in the order of the fields.

Beside it what optax lacks: the learning rate of EDM2,

  a min(n / n_ramp, 1) / sqrt(max(n / n_decay, 1)) after n steps,         (1)

and its forced weight normalisation, by which the weights of every output of a
magnitude-preserving layer are of unit length after every step. Source: Karras
et al. 2024 (2312.02696), section 2.3 and appendix B.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import optax

from difjax import pytree
from difjax.networks import edm2_layers
from difjax.typing import Array, Params, Schedule

_KERNEL = 'kernel'  # the last part of the paths of weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimiser:
  """Clip, rule, weight decay, learning rate, constraint.

  Attributes:
    clip_norm: global norm that gradients are scaled down to; None: no clip.
    rule: the update rule; Adam by default.
    weight_decay: decoupled, as in AdamW.
    schedule: step to learning rate.
    constraint: a last transformation of the update; it sees the parameters.
    accumulate: parts that a batch is cut into, one after the other on the
      devices, for batches whose activations do not fit them; one update, one
      tick of schedule and averages, as if there were no parts
      (`accumulation`).
  """

  clip_norm: float | None = 1.0
  rule: optax.GradientTransformation = optax.scale_by_adam()
  weight_decay: float = 0.0
  schedule: Schedule = optax.constant_schedule(2e-4)
  constraint: optax.GradientTransformation | None = None
  accumulate: int = 1

  def transformation(self) -> optax.GradientTransformation:
    """Returns the chain."""
    steps = (
      optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else None,
      self.rule,
      optax.add_decayed_weights(self.weight_decay)
      if self.weight_decay
      else None,
      optax.scale_by_learning_rate(self.schedule),
      self.constraint,
    )
    return optax.chain(*[step for step in steps if step is not None])


def inverse_root_schedule(
  peak_value: float, ramp_steps: float, decay_steps: float
) -> Schedule:
  """Returns a linear ramp, a constant, and a decay by the root (1).

  Args:
    peak_value: a.
    ramp_steps: n_ramp; 0 for none.
    decay_steps: n_decay; infinity for none.

  Raises:
    ValueError: decay_steps is not above 0, or ramp_steps is below.
  """
  if not (decay_steps > 0 and ramp_steps >= 0):
    raise ValueError(
      f'inverse_root_schedule: ramp_steps={ramp_steps} must be at least 0 and '
      f'decay_steps={decay_steps} above 0'
    )

  def schedule(step: Array) -> Array:
    ramp = jnp.minimum(step / ramp_steps, 1) if ramp_steps else 1.0
    return peak_value * ramp / jnp.sqrt(jnp.maximum(step / decay_steps, 1))

  return schedule


def unit_weights() -> optax.GradientTransformation:
  """Returns the constraint that weights keep unit length.

  It is the last part of a chain, for it makes of an update u of weights p that
  which gives unit(p + u), by `networks.edm2_layers` (2): a layer then sees
  steps of the same relative size however long it is trained. Parameters that
  are no weights are left alone.
  """

  def constrain(updates: Params, params: Params) -> Params:
    unit = {
      name: edm2_layers.unit_kernel(p)
      for name, p in pytree.named_leaves(optax.apply_updates(params, updates))
      if name.rpartition('/')[2] in (_KERNEL,)
    }
    old = dict(pytree.named_leaves(params))
    return pytree.map_named(
      lambda name, u: unit[name] - old[name] if name in unit else u, updates
    )

  return optax.stateless(constrain)
