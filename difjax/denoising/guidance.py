r"""Guidance: from a denoiser to a denoiser that knows what is wanted.

Every guidance has a scale w: a number, one for each image, or a function of
(process, t), such as those of `denoising.conditioning`.

Bayes' rule adds the gradient of a classifier that reads noisy images to the
score (Song et al. 2021, equation 14; Dhariwal & Nichol 2021, section 4), w
times:

  score' = score + w g,   g = grad_x log p(label | x_t, t).               (1)

On the pair of unknowns, with x_t = alpha x_0 + sigma eps unchanged,

  x_0' = x_0 + d,   eps' = eps - (alpha / sigma) d,                       (2)
  d = w (sigma^2 / alpha) g.

With w = 1 and the true classifier, x_0' is E[x_0 | x_t, label].

What a classifier says of x_t is a statement about x_t / alpha and its noise
level sigma / alpha, so one that was trained on another process serves as well:

  log p(label | x_t, t) = log p'(label | x_t alpha'(u) / alpha(t), u),    (3)

where u is the time at which the other process has the log-SNR of t. So does a
denoiser, for x_0 and eps are the same on either process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from difjax.denoising import conditioning, prediction
from difjax.processes import base
from difjax.typing import Array

LogProb = Callable[[Array, Array], Array]
"""(x [B, ...], t scalar or [B]) -> log p(. | x_t, t) [B, K]."""

Scale = float | Array | conditioning.ScalarMap
"""How strongly: a number, one an image [B], or (process, t) -> either."""

Said = TypeVar('Said')
"""What is said of x_t: log-probabilities, or a `Prediction`."""


def strength(scale: Scale, process: base.Process, t: Array) -> float | Array:
  """Returns w at t, scalar or [B]."""
  return scale(process, t) if callable(scale) else scale


def classifier_guided(
  denoiser: prediction.Denoiser,
  process: base.Process,
  log_prob: LogProb,
  label: Array,
  scale: Scale = 1.0,
) -> prediction.Denoiser:
  """Leads samples to a class by a classifier's gradient (1).

  Args:
    denoiser: what is led.
    process: the process that x follows.
    log_prob: the classifier of noisy images.
    label: int [B] or scalar; -1 leaves an image to itself.
    scale: w.

  Returns:
    A denoiser that costs one gradient of the classifier more.
  """
  gradient = label_gradient(log_prob, label)

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    w = strength(scale, process, t)
    factor = w * process.sigma(t) ** 2 / process.alpha(t)
    change = base.expand(factor, x) * gradient(x, t)
    return shifted(denoiser(x, t), process, t, change)

  return denoise


def label_gradient(
  log_prob: LogProb, label: Array
) -> Callable[[Array, Array], Array]:
  """Returns (x [B, ...], t) -> grad_x log p(label | x_t, t), like x.

  Args:
    log_prob: a classifier of noisy images.
    label: int [B] or scalar; -1 for none, of gradient 0.
  """

  def chosen(x: Array, t: Array) -> Array:
    labels = jnp.broadcast_to(label, x.shape[:1])
    each = log_prob(x, t)
    picked = jnp.take_along_axis(each, jnp.maximum(labels, 0)[:, None], axis=-1)
    return jnp.sum(jnp.where(labels >= 0, picked[:, 0], 0))

  return jax.grad(chosen)


def shifted(
  pair: prediction.Prediction,
  process: base.Process,
  t: Array,
  change: Array,
) -> prediction.Prediction:
  """Adds `change` [B, ...] to x_0, and to eps what keeps x_t (2)."""
  ratio = base.expand(process.alpha(t) / process.sigma(t), change)
  return pair._replace(x0=pair.x0 + change, eps=pair.eps - ratio * change)


def transported(
  read: Callable[[Array, Array], Said], own: base.Process, process: base.Process
) -> Callable[[Array, Array], Said]:
  """Lets what was trained on one process read the images of another (3).

  Args:
    read: a classifier or a denoiser of images on `own`.
    own: the process that it was trained on.
    process: the process that x follows.

  Returns:
    The same for images on `process`. Noise levels beyond those of `own` are
    read as its first or last.
  """
  if own == process:
    return read

  def moved(x: Array, t: Array) -> Said:
    u = own.time_of_logsnr(process.logsnr(t))
    ratio = own.alpha(u) / process.alpha(t)
    return read(base.expand(ratio, x) * x, u)

  return moved
