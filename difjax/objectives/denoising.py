r"""Denoising: the loss of every continuous diffusion model.

  L = E_{t, x_0, eps} [ w(t) | y_theta(c_in x_t, c_noise) - y |^2 ],      (1)

y the target of the network, w the weighting, t from the time sampler. With the
right parts this is DDPM's simple loss, denoising score matching, EDM's loss and
conditional flow matching.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.denoising import conditioning, denoiser, prediction, targets
from difjax.objectives import base, times, weightings
from difjax.processes import base as processes
from difjax.typing import Array, Batch, Cond, Key, Metrics, Params, PyTree

NULL_LABEL = -1


def mean(square: Array) -> Array:
  """Averages squared errors [B, ...] over each example's numbers: [B]."""
  return jnp.mean(square, axis=tuple(range(1, square.ndim)))


def half_sum(square: Array) -> Array:
  """Halves the sum of squared errors [B, ...] of each example: [B]."""
  return 0.5 * jnp.sum(square, axis=tuple(range(1, square.ndim)))


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
  """

  process: processes.Process
  target: targets.Target
  network: nn.Module
  inputs: conditioning.InputMap = conditioning.InputMap()
  times: times.Times = times.UniformTimes()
  weighting: weightings.Weighting = weightings.UniformWeighting()
  reduction: Callable[[Array], Array] = mean
  label_dropout: float = 0.0

  def __post_init__(self) -> None:
    if not 0 <= self.label_dropout <= 1:
      raise ValueError(f'label_dropout must be a rate: {self.label_dropout}')
    targets.check(self.target, self.process)

  def init(self, key: Key, batch: Batch) -> Params:
    """Makes the network's parameters."""
    x = jnp.asarray(batch['image'], jnp.float32)[:1]
    cond = {name: value[:1] for name, value in condition(batch).items()}
    return self.network.init(key, x, jnp.zeros(1), cond)['params']

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
      self._hide_labels(condition(batch), key_label),
      train=True,
      rngs={'dropout': key_dropout},
    )
    target = targets.value(self.target, self.process, x0, eps, t)
    error = self.reduction((y.astype(target.dtype) - target) ** 2)
    weight = importance * self.weighting(self.process, self.target, t)
    return jnp.mean(weight * error), ({}, aux)

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""

    def network(x: Array, noise: Array) -> Array:
      y = self.network.apply({'params': params}, x, noise, cond)
      return y.astype(x.dtype)

    return denoiser.of_network(network, self.process, self.target, self.inputs)

  def _hide_labels(self, cond: dict[str, Array], key: Key) -> dict[str, Array]:
    if not self.label_dropout or 'label' not in cond:
      return cond
    label = cond['label']
    hidden = jax.random.bernoulli(key, self.label_dropout, label.shape)
    return {**cond, 'label': jnp.where(hidden, NULL_LABEL, label)}


def condition(batch: Batch) -> dict[str, Array]:
  """Returns what a batch has beside its images."""
  return {key: value for key, value in batch.items() if key != 'image'}
