r"""Guidance by contrast: beyond the better of two denoisers.

Of two denoisers of the same x_t one knows more: with the label and without it
(classifier-free guidance, Ho & Salimans 2022), or well trained and less so
(autoguidance, Karras et al. 2024). At scale w

  D_w = D_0 + w (D_1 - D_0),                                              (1)

D_0 being the one that knows less: w = 0 is D_0, w = 1 is D_1, and what lies
above goes on in that direction. (Where a paper has D_1 + s (D_1 - D_0), w is
1 + s.) (1) holds for x_0, for eps, and so for the score, which is that of

  p_0(x_t)^(1 - w) p_1(x_t)^w                                             (2)

at each t. Other rules start from (1). With the first k channels guided, as in
DiT's and SiT's official samplers, the rest are those of D_1. Rescaled (Lin et
al. 2024, equations 14 to 16), the target y that a network puts out keeps the
spread that it has without guidance, by a share phi,

  y' = (phi std(y_1) / std(y_w) + 1 - phi) y_w,                           (3)

std over all numbers of an image. CFG++ (Chung et al. 2024, algorithm 2) takes
w in [0, 1] and noises again by what D_0 holds for noise,

  x_0' = x_0 of D_w,   eps' = eps of D_0,                                 (4)

the one rule after which alpha x_0' + sigma eps' is not x_t. A step of DDIM to
the noise level r = sigma / alpha from R is then that of (1) at w / (1 - r / R).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from difjax.denoising import guidance, prediction, targets
from difjax.processes import base
from difjax.typing import Array, Cond

Conditioned = Callable[[Cond], prediction.Denoiser]
"""A condition -> the denoiser under it, such as an objective's `denoiser`."""


class Rule(Protocol):
  """Makes one prediction of two."""

  def __call__(
    self,
    full: prediction.Prediction,
    weak: prediction.Prediction,
    process: base.Process,
    x: Array,
    t: Array,
    scale: Array,
  ) -> prediction.Prediction:
    """Returns the guided pair.

    Args:
      full: D_1.
      weak: D_0.
      process: the process that x follows.
      x: [B, ...] at time t.
      t: scalar or [B].
      scale: w, scalar or [B].
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extrapolated:
  """The straight line (1).

  Attributes:
    channels: guide only the first so many channels; None: all. DiT's and
      SiT's published figures are with 3 of 4.
  """

  channels: int | None = None

  def __call__(
    self,
    full: prediction.Prediction,
    weak: prediction.Prediction,
    process: base.Process,
    x: Array,
    t: Array,
    scale: Array,
  ) -> prediction.Prediction:
    """Returns D_w, with the spread of D_1."""
    del process, t
    w, k = base.expand(jnp.asarray(scale, x.dtype), x), self.channels

    def beyond(one: Array, zero: Array) -> Array:
      line = zero + w * (one - zero)
      if k is None:
        return line
      return jnp.concatenate([line[..., :k], one[..., k:]], axis=-1)

    return full._replace(
      x0=beyond(full.x0, weak.x0), eps=beyond(full.eps, weak.eps)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescaled:
  """Another rule, with the spread of what is not guided (3).

  Attributes:
    rule: what gives D_w; not CFG++, which goes around this one instead.
    factor: phi, the share that is rescaled.
    target: y; the paper's networks put out v.
  """

  rule: Rule = Extrapolated()
  factor: float = 0.7
  target: targets.Target = targets.V()

  def __call__(
    self,
    full: prediction.Prediction,
    weak: prediction.Prediction,
    process: base.Process,
    x: Array,
    t: Array,
    scale: Array,
  ) -> prediction.Prediction:
    """Returns the pair of y', with the spread of D_1."""
    pair = self.rule(full, weak, process, x, t, scale)
    y, plain = (
      targets.value(self.target, process, each.x0, each.eps, t)
      for each in (pair, full)
    )
    numbers = tuple(range(1, x.ndim))
    ratio = jnp.std(plain, numbers) / jnp.std(y, numbers)
    change = self.factor * ratio + 1 - self.factor
    y = base.expand(change, y) * y
    made = targets.invert(self.target, process, y, x, t)
    return made._replace(spread=pair.spread)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CFGPlusPlus:
  """CFG++: x_0 by another rule, eps of the weaker denoiser (4).

  Attributes:
    rule: what gives x_0; its scale is in [0, 1].
  """

  rule: Rule = Extrapolated()

  def __call__(
    self,
    full: prediction.Prediction,
    weak: prediction.Prediction,
    process: base.Process,
    x: Array,
    t: Array,
    scale: Array,
  ) -> prediction.Prediction:
    """Returns the pair, with the spread of D_1."""
    pair = self.rule(full, weak, process, x, t, scale)
    return pair._replace(eps=weak.eps)


def autoguided(
  denoiser: prediction.Denoiser,
  weaker: prediction.Denoiser,
  process: base.Process,
  scale: guidance.Scale = 1.0,
  *,
  rule: Rule = Extrapolated(),
) -> prediction.Denoiser:
  """Leads away from a weaker denoiser: autoguidance (Karras et al. 2024).

  Args:
    denoiser: D_1.
    weaker: D_0, on the same process.
    process: the process that x follows.
    scale: w; 1 is `denoiser`.
    rule: what is made of the two.

  Returns:
    A denoiser that costs an evaluation of each.
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    w = guidance.strength(scale, process, t)
    return rule(denoiser(x, t), weaker(x, t), process, x, t, w)

  return denoise


def classifier_free(
  conditioned: Conditioned,
  process: base.Process,
  cond: Cond,
  scale: guidance.Scale = 1.0,
  *,
  null: Cond = None,
  rule: Rule = Extrapolated(),
  together: bool = True,
) -> prediction.Denoiser:
  """Leads towards a condition, away from the model without it.

  Args:
    conditioned: the model, which was trained with and without a condition.
    process: the process that x follows.
    cond: arrays [B, ...] by name.
    scale: w; 1 is the model under `cond`.
    null: the condition of D_0; by default `cond` without its labels.
    rule: what is made of the two.
    together: evaluate both as one batch of 2B, the condition first; `null`
      then has the names and shapes of `cond`.

  Returns:
    A denoiser that costs two evaluations.
  """
  null = without_label(cond) if null is None else null
  if not together:
    full, weak = conditioned(cond), conditioned(null)
    return autoguided(full, weak, process, scale, rule=rule)
  join = lambda one, other: jnp.concatenate([one, other])
  both = conditioned(jax.tree.map(join, cond, null))

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    t = base.as_time(t)
    pairs = both(join(x, x), join(t, t) if t.ndim else t)
    full = jax.tree.map(lambda part: part[: x.shape[0]], pairs)
    weak = jax.tree.map(lambda part: part[x.shape[0] :], pairs)
    w = guidance.strength(scale, process, t)
    return rule(full, weak, process, x, t, w)

  return denoise


def without_label(cond: Cond) -> Cond:
  """Hides the labels of a condition.

  Args:
    cond: 'label' int [B], or weights of the classes [B, K], and other things.

  Returns:
    The condition with labels of -1, or weights of 0.
  """
  label = cond['label']
  return {**cond, 'label': jnp.full_like(label, 0 if label.ndim == 2 else -1)}


def interval_limited(
  denoiser: prediction.Denoiser,
  otherwise: prediction.Denoiser,
  process: base.Process,
  low: float,
  high: float,
) -> prediction.Denoiser:
  """Guides at some noise levels only (Kynkaanniemi et al. 2024).

  Args:
    denoiser: for low < sigma / alpha <= high.
    otherwise: for all other levels; it alone is evaluated where no image of
      the batch is between them.
    process: the process that x follows.
    low: the highest level that is too low.
    high: the highest level.
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    level = process.sigma(t) / process.alpha(t)
    inside = (low < level) & (level <= high)

    def guided() -> prediction.Prediction:
      pair = denoiser(x, t)
      if not inside.ndim:
        return pair
      choose = lambda a, b: jnp.where(base.expand(inside, a), a, b)
      return jax.tree.map(choose, pair, otherwise(x, t))

    return jax.lax.cond(jnp.any(inside), guided, lambda: otherwise(x, t))

  return denoise
