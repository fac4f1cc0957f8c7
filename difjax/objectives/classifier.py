r"""A classifier of noisy images: what guides an unconditional model to a class.

  L = E_{t, x_0, eps} [ - log p_theta(label | c_in x_t, c_noise) ],        (1)

t from the time sampler. With a variance-exploding process and the noise level
as input this is the noise-conditional classifier of Song et al. 2021 (appendix
I.1); on DDPM's levels, that of Dhariwal & Nichol 2021 (section 4).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.denoising import conditioning, guidance
from difjax.objectives import base, times
from difjax.processes import base as processes
from difjax.typing import Array, Batch, Key, Metrics, Params, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier(base.Objective):
  """Classification of x_t at every t (1).

  Attributes:
    process: how data become noise.
    network: (x, noise, cond, train) -> logits [B, K], a Linen module; cond is
      None.
    inputs: what the network sees of x and t.
    times: which times the loss averages over.
  """

  process: processes.Process
  network: nn.Module
  inputs: conditioning.InputMap = conditioning.InputMap()
  times: times.Times = times.UniformTimes()

  def init(self, key: Key, batch: Batch) -> Params:
    """Makes the network's parameters.

    Raises:
      ValueError: the data have no labels.
    """
    if 'label' not in batch:
      raise ValueError('a classifier needs data with labels')
    x = jnp.asarray(batch['image'], jnp.float32)[:1]
    return self.network.init(key, x, jnp.zeros(1))['params']

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
    """Averages (1) over a batch; metrics: accuracy on the noisy images."""
    del frozen, step, ema
    x0, label = batch['image'], batch['label']
    key_t, key_eps, key_dropout = jax.random.split(key, 3)
    t, importance = self.times.draw(self.process, key_t, x0.shape[0])
    eps = jax.random.normal(key_eps, x0.shape, x0.dtype)
    log_prob = self._log_prob(
      params, self.process.perturb(x0, eps, t), t,
      train=True, rngs={'dropout': key_dropout},
    )  # fmt: skip
    chosen = jnp.take_along_axis(log_prob, label[:, None], axis=-1)[:, 0]
    right = jnp.argmax(log_prob, axis=-1) == label
    metrics = {'accuracy': jnp.mean(right.astype(jnp.float32))}
    return -jnp.mean(importance * chosen), (metrics, aux)

  def log_prob(self, params: Params) -> guidance.LogProb:
    """Returns (x [B, ...], t) -> log p(. | x_t, t) [B, K]."""
    return lambda x, t: self._log_prob(params, x, t)

  def _log_prob(
    self,
    params: Params,
    x: Array,
    t: Array,
    *,
    train: bool = False,
    rngs: dict[str, Key] | None = None,
  ) -> Array:
    t = jnp.broadcast_to(processes.as_time(t), x.shape[:1])
    c_in, c_noise = self.inputs(self.process, t)
    logits = self.network.apply(
      {'params': params}, processes.expand(c_in, x) * x, c_noise,
      train=train, rngs=rngs,
    )  # fmt: skip
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    return jax.nn.log_softmax(logits.astype(wide))
