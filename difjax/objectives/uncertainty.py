r"""Denoising under a learned variance: every noise level as one of many tasks.

  L = E [ e(t) exp(-u(t)) + u(t) ],                                       (1)

e the weighted error of `denoising` (1) and u a small network of the noise
level's code. At a given time (1) is least where

  exp(u) = E e,                                                           (2)

and there the gradient that reaches the denoiser is that of e / E e: all noise
levels count alike however much of each can be learned. Source: Karras et al.
2024 (2312.02696), equation 15 and appendix B.2.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import edm2_layers
from difjax.objectives import denoising
from difjax.processes import base as processes
from difjax.typing import Array, Batch, Key, Metrics, Params, PyTree

_ENTRY = 'log_variance'  # of params, beside the network's own


@dataclasses.dataclass(frozen=True, kw_only=True)
class UncertaintyDenoising(denoising.Denoising):
  """Denoising with weights that are learned (1).

  Attributes:
    log_variance: u, a Linen module from c_noise [B] to [B].
  """

  log_variance: nn.Module = edm2_layers.LogVariance()

  def init(self, key: Key, batch: Batch) -> Params:
    """Makes the parameters of the network, and beside them those of u."""
    of_network, of_variance = jax.random.split(key)
    variables = self.log_variance.init(of_variance, jnp.zeros(1))
    network = super().init(of_network, batch)
    return {**network, _ENTRY: variables['params']}

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
    error, u = self.errors(found), self.uncertainty(params, found.t)
    loss = found.importance * (error * jnp.exp(-u) + u)
    metrics = {'error': jnp.mean(error), **self.by_time(found.t, loss)}
    return jnp.mean(loss), (metrics, aux)

  def uncertainty(self, params: Params, t: Array) -> Array:
    """Returns u [B] at times t [B]."""
    _, noise = self.inputs(self.process, processes.as_time(t))
    return self.log_variance.apply({'params': params[_ENTRY]}, noise)
