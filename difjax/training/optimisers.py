"""The optimiser: a chain of optax, in the order of the fields."""

from __future__ import annotations

import dataclasses

import optax

from difjax.typing import Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimiser:
  """Clip, rule, weight decay, learning rate, constraint.

  Attributes:
    clip_norm: global norm that gradients are scaled down to; None: no clip.
    rule: the update rule; Adam by default.
    weight_decay: decoupled, as in AdamW.
    schedule: step to learning rate.
    constraint: a last transformation of the update; it sees the parameters.
  """

  clip_norm: float | None = 1.0
  rule: optax.GradientTransformation = optax.scale_by_adam()
  weight_decay: float = 0.0
  schedule: Schedule = optax.constant_schedule(2e-4)
  constraint: optax.GradientTransformation | None = None

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
