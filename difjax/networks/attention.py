"""Self-attention over tokens.

With queries, keys and values q, k, v of head width d,

  o_i = sum_j softmax_j(q_i . k_j / sqrt d) v_j,                          (1)

logits and softmax in float32 whatever the compute dtype.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import layers
from difjax.typing import Array

Implementation = Literal['xla', 'cudnn'] | None


def heads(channels: int, count: int, width: int | None) -> int:
  """Returns how many heads there are: `count`, or as many of that width.

  Raises:
    ValueError: when the width does not divide the channels.
  """
  if width is None:
    return count
  if channels % width:
    raise ValueError(
      f'attention: heads of width {width} do not divide {channels} channels; '
      'choose a width that does')
  return channels // width


class SelfAttention(nn.Module):
  """Multi-head self-attention with one fused projection.

  The output features of `qkv` are ordered (query | key | value, head, d).
  `implementation` goes to `jax.nn.dot_product_attention`; cudnn needs a GPU and
  half precision. `features` is the width of the output, C when None.
  """

  heads: int = 1
  qkv_init: layers.Initialiser = nn.initializers.xavier_uniform()
  out_init: layers.Initialiser = nn.initializers.xavier_uniform()
  implementation: Implementation = None
  dtype: jax.typing.DTypeLike = jnp.float32
  features: int | None = None
  qkv_bias: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Attends over tokens: [B, N, C] to [B, N, features].

    Raises:
      ValueError: when the heads do not divide the channels.
    """
    batch, tokens, channels = x.shape
    if channels % self.heads:
      raise ValueError(
        f'attention: {self.heads} heads do not divide {channels} channels; '
        'choose heads that do')
    qkv = nn.Dense(
      3 * channels, kernel_init=self.qkv_init, use_bias=self.qkv_bias,
      dtype=self.dtype, name='qkv')(x)
    qkv = qkv.reshape(batch, tokens, 3, self.heads, channels // self.heads)
    o = jax.nn.dot_product_attention(
      qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2],
      implementation=self.implementation)
    return nn.Dense(
      self.features or channels, kernel_init=self.out_init, dtype=self.dtype,
      name='out')(o.reshape(batch, tokens, channels))
