"""The loss by noise level, on images that were and were not trained on."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from difjax.data import device
from difjax.denoising import targets
from difjax.objectives import denoising
from difjax.typing import Array, Batch, Params


@functools.partial(jax.jit, static_argnames='objective')
def _errors(
  params: Params,
  batch: Batch,
  t: Array,
  key: Array,
  *,
  objective: denoising.Denoising,
) -> Array:
  """Returns the mean squared error of the network's output at a time."""
  x0 = device.to_unit_range(batch['image'])
  times = jnp.full(x0.shape[:1], t)
  eps = jax.random.normal(key, x0.shape)
  x = objective.process.perturb(x0, eps, times)
  pair = objective.denoiser(params, denoising.condition(batch))(x, times)
  y = functools.partial(
    targets.value, objective.target, objective.process, t=times
  )
  return jnp.mean((y(pair.x0, pair.eps) - y(x0, eps)) ** 2)


def by_level(
  objective: denoising.Denoising,
  params: Params,
  batch: Batch,
  *,
  levels: int = 24,
  seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Measures the error of the network's output over the trained noise levels.

  Args:
    objective: what was trained.
    params: of its network.
    batch: image [B, H, W, C] uint8 or in [-1, 1], label [B], ...
    levels: how many, at even quantiles of the objective's time sampler.
    seed: of the noise, the same at every level.

  Returns:
    log-SNR [levels] and mean squared error [levels].
  """
  u = (jnp.arange(levels) + 0.5) / levels
  times = objective.times.quantile(objective.process, u)
  key = jax.random.key(seed)
  batch = jax.device_put(dict(batch))
  found = [_errors(params, batch, t, key, objective=objective) for t in times]
  logsnr = np.asarray(objective.process.logsnr(times))
  return logsnr, np.asarray(jax.device_get(found))
