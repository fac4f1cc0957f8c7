"""Recorded runs of official samplers, and the denoisers that they were run on.

Beside the checkout they are as they were recorded; in the checkout there is
what the tests need of them, in float32.
"""

from __future__ import annotations

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from difjax import denoising

_TESTS = pathlib.Path(__file__).parents[1]


def load(name):
  """Opens the recorded run of an official implementation."""
  full = _TESTS.parents[1] / 'shared' / 'golden' / name / 'io.npz'
  copy = _TESTS / 'golden' / 'solvers' / f'{name}.npz'
  return np.load(full if full.is_file() else copy)


def eagerly(run):
  """Runs operation by operation.

  Many solvers of a few steps share the operations, whereas as programs each
  would have to be compiled.
  """
  with jax.disable_jit():
    return jax.tree.map(np.asarray, run())


def mixture(recorded):
  """The exact denoiser of k-diffusion's and the consistency models' runs."""
  weight, mean, std = (recorded[f'gm_{key}'] for key in ('w', 'mean', 'std'))

  def denoise(x, t):
    sigma = jnp.broadcast_to(jnp.asarray(t, x.dtype), x.shape[:1])[:, None]
    variance = jnp.asarray(std, x.dtype) ** 2 + sigma**2  # [B, K]
    away = x[:, None] - jnp.asarray(mean, x.dtype)  # [B, K, 2]
    log = (
      jnp.log(jnp.asarray(weight, x.dtype))
      - jnp.log(variance)
      - 0.5 * jnp.sum(away**2, axis=-1) / variance
    )
    share = jax.nn.softmax(log, axis=-1)[..., None]
    kept = (jnp.asarray(std, x.dtype) ** 2 / variance)[..., None]
    x0 = jnp.sum(share * (jnp.asarray(mean, x.dtype) + kept * away), axis=1)
    eps = jnp.sum(share * away * (sigma / variance)[..., None], axis=1)
    return denoising.Prediction(x0, eps)

  return denoise
