r"""Layers that keep magnitudes: unit variance in, unit variance out.

A weight w_i of an output unit with N inputs is used at unit length whatever
length it is stored with, under a learned gain g where there is one,

  y_i = (g / sqrt N) sum_j v_ij x_j,   v_i = unit(w_i),                   (1)
  unit(x) = x / (|x| / sqrt N + 10^-4),                                   (2)

so that uncorrelated inputs of unit variance give outputs of unit variance. A
balance t blends two such inputs a and b, or joins their N_a and N_b channels,

  sum:  ((1 - t) a + t b) / m,   m = sqrt((1 - t)^2 + t^2),               (3)
  join: (sqrt(N / N_a) (1 - t) a, sqrt(N / N_b) t b) / m,   N = N_a + N_b, (4)

and the other layers are scaled to what they do to a normal number:

  silu(x) / 0.596,   sqrt 2 cos(f_k x + p_k).                             (5)

With f_k / 2 pi normal and p_k / 2 pi uniform, (5) is a code of a number x. The
residual block of an embedding e, in which every gain starts at zero, is

  y = conv(drop(silu(conv(silu(x)) (1 + Linear_g(e))))),                  (6)
  x <- sum(x, y),   x <- sum(x, Linear(attention(x))),                    (7)

queries, keys and values of (7) being of unit length (2) over the channels of a
head. On the way down x is resampled, brought to its channels and normalised
over them (2) before (6); on the way up it is resampled, and brought to its
channels where (7) needs it. Source: Karras et al. 2024 (2312.02696), appendix
B.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.networks import attention, layers
from difjax.typing import Array, Key, Shape

_EPSILON = 1e-4
_SILU = 0.596  # root mean square of silu of a normal number


def unit(x: Array, axes: tuple[int, ...] = (-1,)) -> Array:
  """Brings x to root mean square 1 over `axes` (2), in float32 or better."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  norm = jnp.sqrt(jnp.mean(wide**2, axes, keepdims=True))
  return (wide / (norm + _EPSILON)).astype(x.dtype)


def unit_kernel(kernel: Array) -> Array:
  """Brings the weights of every output, the last axis, to unit length (2)."""
  return unit(kernel, tuple(range(kernel.ndim - 1)))


def mp_silu(x: Array) -> Array:
  """The activation of (5)."""
  return nn.silu(x) / _SILU


def mp_sum(a: Array, b: Array, balance: float) -> Array:
  """Blends two of one shape (3)."""
  return ((1 - balance) * a + balance * b) / math.hypot(1 - balance, balance)


def mp_join(a: Array, b: Array, balance: float) -> Array:
  """Joins the channels, the last axis, of two (4)."""
  count = a.shape[-1] + b.shape[-1]
  norm = math.hypot(1 - balance, balance)
  scaled = lambda x, share: x * (share / norm * math.sqrt(count / x.shape[-1]))
  return jnp.concatenate([scaled(a, 1 - balance), scaled(b, balance)], -1)


def _unit_normal(
  key: Key, shape: Shape, dtype: jax.typing.DTypeLike = jnp.float32
) -> Array:
  """Draws weights of unit length and uniform direction."""
  return unit_kernel(jax.random.normal(key, shape, dtype))


class MPConv(nn.Module):
  """A convolution or, of side 1, a linear layer (1); no bias.

  Attributes:
    features: channels of the output.
    side: of the kernel, odd.
  """

  features: int
  side: int = 1

  @nn.compact
  def __call__(self, x: Array, gain: Array | float = 1.0) -> Array:
    """Maps the last axis; a side above 1 needs [B, H, W, C]."""
    sides = (self.side,) * 2 if self.side > 1 else ()
    shape = (*sides, x.shape[-1], self.features)
    kernel = self.param('kernel', _unit_normal, shape)
    wide = jnp.promote_types(kernel.dtype, x.dtype)
    kernel = unit_kernel(kernel.astype(wide))
    kernel = kernel * (gain / math.sqrt(math.prod(shape[:-1])))
    kernel = kernel.astype(x.dtype)
    if not sides:
      return x @ kernel
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _turns(draw: Callable[[Key, Shape], Array]) -> layers.Initialiser:
  """Draws numbers of whole turns as angles."""
  return lambda key, shape: 2 * np.pi * draw(key, shape)


class MPFourier(nn.Module):
  """The code of (5); neither frequencies nor phases are trained.

  They are parameters all the same, so that checkpoints carry them.
  """

  width: int

  @nn.compact
  def __call__(self, noise: Array) -> Array:
    """Encodes noise [B] as [B, width] in at least float32."""
    noise = noise.astype(jnp.promote_types(noise.dtype, jnp.float32))
    shape = (self.width,)
    f = self.param('frequencies', _turns(jax.random.normal), shape)
    p = self.param('phases', _turns(jax.random.uniform), shape)
    f, p = (jax.lax.stop_gradient(a).astype(noise.dtype) for a in (f, p))
    return math.sqrt(2) * jnp.cos(noise[:, None] * f + p)


class LogVariance(nn.Module):
  """A scalar function of the noise level: a linear layer on its code (5).

  Attributes:
    width: of the code.
  """

  width: int = 128

  @nn.compact
  def __call__(self, noise: Array) -> Array:
    """Maps noise [B] to [B] in at least float32."""
    code = MPFourier(self.width, name='encoding')(noise)
    return MPConv(1, name='out')(code)[:, 0]


class MPBlock(nn.Module):
  """The residual block, equations (6) and (7).

  Attributes:
    channels: of the output.
    decoder: the block is one of the way up.
    resampling: a function of features that goes first; None for none.
    attend: whether attention follows.
    channels_per_head: of the attention, at the least: there are as many heads
      as fit, and where none does there is no attention.
    dropout: rate before the second convolution.
    residual_balance: share of y in (7).
    attention_balance: share of the attention in (7).
    clip: bound on the size of activations; None for none.
    implementation: of the attention: None, 'xla' or 'cudnn'.
  """

  channels: int
  decoder: bool = False
  resampling: Callable[[Array], Array] | None = None
  attend: bool = False
  channels_per_head: int = 64
  dropout: float = 0.0
  residual_balance: float = 0.3
  attention_balance: float = 0.3
  clip: float | None = 256.0
  implementation: attention.Implementation = None

  @nn.compact
  def __call__(self, x: Array, emb: Array, train: bool) -> Array:
    """Maps [B, H, W, C] under emb [B, E] to [B, H', W', channels].

    Raises:
      ValueError: when the heads do not divide the channels.
    """
    if self.resampling is not None:
      x = self.resampling(x)
    if not self.decoder:
      x = unit(self._shortcut(x))
    gain = self.param('gain', nn.initializers.zeros, ())
    scale = 1 + MPConv(self.channels, name='emb')(emb, gain)
    h = MPConv(self.channels, 3, name='conv_0')(mp_silu(x))
    h = mp_silu(h * scale[:, None, None].astype(h.dtype))
    h = nn.Dropout(self.dropout, deterministic=not train)(h)
    h = MPConv(self.channels, 3, name='conv_1')(h)
    if self.decoder:
      x = self._shortcut(x)
    x = mp_sum(x, h, self.residual_balance)
    heads = self.channels // self.channels_per_head if self.attend else 0
    if heads:
      x = mp_sum(x, self._attention(x, heads), self.attention_balance)
    if self.clip is not None:
      x = jnp.clip(x, -self.clip, self.clip)
    return layers.constrain(x, 'batch')

  @nn.nowrap
  def _shortcut(self, x: Array) -> Array:
    """Brings x to the channels of the output."""
    if x.shape[-1] == self.channels:
      return x
    return MPConv(self.channels, name='shortcut')(x)

  @nn.nowrap
  def _attention(self, x: Array, heads: int) -> Array:
    """Cosine attention over all positions; channels are (q | k | v, head, d).

    Raises:
      ValueError: when the heads do not divide the channels.
    """
    width, rest = divmod(self.channels, heads)
    if rest:
      raise ValueError(
        f'MPBlock: {heads} heads do not divide {self.channels} channels; '
        'choose `channels_per_head` so that they do')
    qkv = MPConv(3 * self.channels, name='qkv')(x)
    qkv = qkv.reshape(x.shape[0], -1, 3, heads, width)
    q, k, v = (unit(qkv[:, :, i]) for i in range(3))
    h = attention.attend(q, k, v, self.implementation)
    return MPConv(self.channels, name='out')(h.reshape(x.shape))
