r"""Denoising: the loss of every continuous diffusion model.

  L = E_{t, x_0, eps} [ w(t) | y_theta(c_in x_t, c_noise) - y |^2 ],      (1)

y the target of the network, w the weighting, t from the time sampler. With the
right parts this is DDPM's simple loss, denoising score matching, EDM's loss and
conditional flow matching.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.denoising import (
  conditioning,
  contrast,
  denoiser,
  prediction,
  restoration,
  targets,
)
from difjax.objectives import base, times, weightings
from difjax.processes import base as processes
from difjax.typing import Array, Batch, Cond, Key, Metrics, Params, PyTree

_PARTS = 4  # of the times, whose losses are logged apart


def mean(square: Array) -> Array:
  """Averages squared errors [B, ...] over each example's numbers: [B]."""
  return jnp.mean(square, axis=tuple(range(1, square.ndim)))


def half_sum(square: Array) -> Array:
  """Halves the sum of squared errors [B, ...] of each example: [B]."""
  return 0.5 * jnp.sum(square, axis=tuple(range(1, square.ndim)))


class Attempt(NamedTuple):
  """A batch at drawn times, and what the network says of it.

  Attributes:
    x0: [B, ...], the data.
    x: [B, ...], the noisy data.
    eps: [B, ...], the noise.
    t: [B].
    importance: [B], the factors of the time sampler.
    y: [B, ...], the network's output of the target.
    spread: [B, ...], of the learned variance; None without.
  """

  x0: Array
  x: Array
  eps: Array
  t: Array
  importance: Array
  y: Array
  spread: Array | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising(base.Objective):
  """Denoising (1).

  Attributes:
    process: how data become noise.
    target: what the network puts out.
    network: (x, noise, cond, train) -> y, a Linen module.
    inputs: what the network sees of x and t.
    times: which times the loss averages over.
    weighting: how much each time counts.
    reduction: squared errors [B, ...] to [B], `mean` or `half_sum`.
    label_dropout: how often a label is hidden, for classifier-free guidance.
    learned_range: the network puts out y and a learned variance side by side
      in the last axis; (1) does not see the latter.
    low_res: how small images are made of the data for a network that enlarges
      them; None where it does not, or the batches have them.
  """

  process: processes.Process
  target: targets.Target
  network: nn.Module
  inputs: conditioning.InputMap = conditioning.InputMap()
  times: times.Times = times.UniformTimes()
  weighting: weightings.Weighting = weightings.UniformWeighting()
  reduction: Callable[[Array], Array] = mean
  label_dropout: float = 0.0
  learned_range: bool = False
  low_res: restoration.Operator | None = None

  def __post_init__(self) -> None:
    if not 0 <= self.label_dropout <= 1:
      raise ValueError(f'label_dropout must be a rate: {self.label_dropout}')
    targets.check(self.target, self.process)

  @property
  def null_label(self) -> bool:
    """Whether some labels are hidden in training."""
    return self.label_dropout > 0

  def init(self, key: Key, batch: Batch) -> Params:
    """Makes the network's parameters."""
    first = {name: value[:1] for name, value in batch.items()}
    x = first['image'] = jnp.asarray(first['image'], jnp.float32)
    return self.network.init(
      key, x, jnp.zeros(1), self._condition(first))['params']

  def loss(
    self,
    params: Params,
    aux: PyTree,
    frozen: PyTree,
    batch: Batch,
    key: Key,
    *,
    step: Array,
    ema: dict[str, Params],
  ) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Averages (1) over a batch."""
    del frozen, step, ema
    found = self.attempt(params, batch, key)
    each = found.importance * self.errors(found)
    return jnp.mean(each), (self.by_time(found.t, each), aux)

  def by_time(self, t: Array, each: Array) -> Metrics:
    """Returns the metric `loss_t`: losses [B] by quarters of the times [B].

    The first quarter of all times that are drawn has the least noise. Sums and
    counts [2, 4], as metrics are that are means over parts of a batch.
    """
    within = jax.nn.one_hot(
      self.times.part(self.process, t, _PARTS), _PARTS, dtype=each.dtype)
    each = jax.lax.stop_gradient(each)[:, None]
    return {'loss_t': jnp.stack([jnp.sum(each * within, 0), within.sum(0)])}

  def errors(self, found: Attempt) -> Array:
    """Returns w(t) | y_theta - y |^2 [B] of (1)."""
    target = targets.value(
      self.target, self.process, found.x0, found.eps, found.t)
    error = self.reduction((found.y.astype(target.dtype) - target) ** 2)
    return self.weighting(self.process, self.target, found.t) * error

  def attempt(self, params: Params, batch: Batch, key: Key) -> Attempt:
    """Draws times and noise for a batch and asks the network."""
    x0 = batch['image']
    key_t, key_eps, key_label, key_dropout = jax.random.split(key, 4)
    t, importance = self.times.draw(self.process, key_t, x0.shape[0])
    eps = jax.random.normal(key_eps, x0.shape, x0.dtype)
    x = self.process.perturb(x0, eps, t)
    c_in, c_noise = self.inputs(self.process, t)
    y = self.network.apply(
      {'params': params},
      processes.expand(c_in, x) * x,
      c_noise,
      self._hide_labels(self._condition(batch), key_label),
      train=True,
      rngs={'dropout': key_dropout},
    )
    y, spread = denoiser.split_range(y) if self.learned_range else (y, None)
    return Attempt(x0, x, eps, t, importance, y, spread)

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""

    def network(x: Array, noise: Array) -> Array:
      y = self.network.apply({'params': params}, x, noise, cond)
      return y.astype(x.dtype)

    return denoiser.of_network(
      network, self.process, self.target, self.inputs,
      learned_range=self.learned_range)

  def _condition(self, batch: Batch) -> dict[str, Array]:
    cond = condition(batch)
    if self.low_res is None:
      return cond
    return {'low_res': self.low_res.measure(batch['image']), **cond}

  def _hide_labels(self, cond: dict[str, Array], key: Key) -> dict[str, Array]:
    if not self.null_label or 'label' not in cond:
      return cond
    label, null = cond['label'], contrast.without_label(cond)['label']
    hidden = jax.random.bernoulli(key, self.label_dropout, label.shape[:1])
    shown = jnp.where(processes.expand(hidden, label), null, label)
    return {**cond, 'label': shown}


def condition(batch: Batch) -> dict[str, Array]:
  """Returns what a batch has beside its images."""
  return {key: value for key, value in batch.items() if key != 'image'}
