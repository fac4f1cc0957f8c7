"""Self-attention over tokens.

With queries, keys and values q, k, v of head width d,

  l_ij = q_i . k_j / sqrt d,                                              (1)
  o_i = sum_j exp(l_ij - m_i) v_j / sum_j exp(l_ij - m_i),  m_i = max_j l_ij,

logits, exponentials and their sum in float32 whatever the compute dtype. The
quotient is taken of the sums, not of the weights: of what is N x N, only the
exponentials are written, and the gradient of the sum, a number a token, comes
from o and that of o alone.
"""

from __future__ import annotations

import math
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


def attend(
  q: Array, k: Array, v: Array, implementation: Implementation = None
) -> Array:
  """Attends (1), each head by itself.

  Args:
    q: queries [B, N, H, d].
    k: keys [B, M, H, d].
    v: values [B, M, H, d].
    implementation: None for (1) as it stands; others are those of
      `jax.nn.dot_product_attention`. cudnn needs a GPU and half precision.

  Returns:
    [B, N, H, d].
  """
  if implementation is not None:
    return jax.nn.dot_product_attention(
      q, k, v, implementation=implementation)
  exact = jnp.promote_types(q.dtype, jnp.float32)
  scaled = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
  q, k, v = (jnp.swapaxes(a, 1, 2) for a in (scaled, k, v))
  logits = jnp.einsum('bhnd,bhmd->bhnm', q, k, preferred_element_type=exact)
  highest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
  weights = jnp.exp(logits - highest)
  o = jnp.einsum(
    'bhnm,bhmd->bhnd', weights.astype(v.dtype), v, preferred_element_type=exact)
  o = o / weights.sum(axis=-1, keepdims=True)
  return jnp.swapaxes(o, 1, 2).astype(v.dtype)


class Projection(nn.Module):
  """A dense layer to several outputs a head; its parameters are `nn.Dense`'s.

  Where heads are split over devices it is the weights that are rearranged, for
  of (part, head, width) in one axis no even split keeps heads together.
  """

  features: tuple[int, int, int]  # parts, heads, width
  kernel_init: layers.Initialiser = nn.initializers.xavier_uniform()
  use_bias: bool = True
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, N, C] to [B, N, parts, heads, width]."""
    size = math.prod(self.features)
    kernel = self.param(
      'kernel', self.kernel_init, (x.shape[-1], size), jnp.float32)
    bias = None
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (size,), jnp.float32)
    x, kernel, bias = nn.dtypes.promote_dtype(
      x, kernel, bias, dtype=self.dtype)
    by_head = kernel.reshape(-1, *self.features)
    by_head = layers.constrain(by_head, 'whole', 'whole', 'heads')
    y = jax.lax.dot_general(x, by_head, (((2,), (0,)), ((), ())))
    y = layers.constrain(y, 'batch', None, None, 'heads')
    return y if bias is None else y + bias.reshape(self.features)


class SelfAttention(nn.Module):
  """Multi-head self-attention with one fused projection.

  The output features of `qkv` are ordered (query | key | value, head, d).
  `implementation` is that of `attend`; `features` is the width of the output, C
  when None.
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
    qkv = Projection(
      (3, self.heads, channels // self.heads), kernel_init=self.qkv_init,
      use_bias=self.qkv_bias, dtype=self.dtype, name='qkv')(x)
    q, k, v = (qkv[:, :, i] for i in range(3))
    o = attend(q, k, v, self.implementation)
    return layers.dense(
      self.features or channels, self.out_init, dtype=self.dtype,
      name='out')(o.reshape(batch, tokens, channels))
