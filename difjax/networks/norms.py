r"""InstanceNorm++, with one set of scales or one for each noise level.

With m_c and v_c the mean and variance of channel c over the positions of one
image, and E, V mean and variance over channels,

  z = (x - m_c) / sqrt(v_c + eps),                                       (1)
  n_c = (m_c - E m) / sqrt(V m + eps),                                   (2)
  y = gamma_c (z + alpha_c n_c) + beta_c.                                (3)

n restores what (1) takes away: how bright one channel is beside the others.
Source: Song and Ermon 2019, appendix A.1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.typing import Array


def _near_one(
  key: Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike
) -> Array:
  """Draws from N(1, 0.02^2)."""
  return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class InstanceNormPlus(nn.Module):
  """Equations (1) to (3), in float32 or better.

  Attributes:
    levels: noise levels, each with a row of gamma, alpha and beta; 0 for one
      row that all share.
    unbiased: V divides by C - 1, as PyTorch does, in place of C.
    epsilon: eps.
  """

  levels: int = 0
  unbiased: bool = False
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: Array, level: Array) -> Array:
    """Normalises x [B, H, W, C] at level, int [B]; keeps the dtype of x.

    A level that the table lacks gives NaN, for a traced value cannot raise.
    """
    h = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    gamma = self._row('gamma', _near_one, h, level)
    alpha = self._row('alpha', _near_one, h, level)
    beta = self._row('beta', nn.initializers.zeros, h, level)
    mean = h.mean((1, 2), keepdims=True)
    z = (h - mean) * jax.lax.rsqrt(
      h.var((1, 2), keepdims=True) + self.epsilon)
    spread = mean.var(-1, keepdims=True, ddof=int(self.unbiased))
    n = (mean - mean.mean(-1, keepdims=True)) * jax.lax.rsqrt(
      spread + self.epsilon)
    return (gamma * (z + alpha * n) + beta).astype(x.dtype)

  @nn.nowrap
  def _row(
    self, name: str, init: nn.initializers.Initializer, h: Array, level: Array
  ) -> Array:
    """Returns the row of a parameter for each image: [B or 1, 1, 1, C]."""
    shape = (self.levels or 1, h.shape[-1])
    table = self.param(name, init, shape, jnp.float32).astype(h.dtype)
    if self.levels:
      table = jnp.take(table, level, axis=0, mode='fill')
    return table[:, None, None]
