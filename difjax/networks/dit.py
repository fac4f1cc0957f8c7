"""The diffusion transformer with adaLN-Zero (Peebles and Xie, 2212.09748).

A grid of any rank is cut into patches, each a token. A block conditions on the
vector c = time + label by

  (s1, m1, g1, s2, m2, g2) = Linear(silu(c))                              (1)
  x <- x + g1 * attention(norm(x) (1 + m1) + s1)                          (2)
  x <- x + g2 * mlp(norm(x) (1 + m2) + s2)                                (3)

norm being a LayerNorm without parameters. The linear map of (1) starts at zero,
so a fresh block is the identity and a fresh network gives zeros. Blocks are
scanned over: each of their parameters has a leading axis of length `depth`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import attention, embeddings, layers
from difjax.typing import Array, Cond, Shape

_xavier = nn.initializers.xavier_uniform()
_zeros = nn.initializers.zeros_init()
_narrow = nn.initializers.normal(0.02)


def grid_of(shape: Shape, patch: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the patches along each axis of an input [B, S_1, ..., S_r, C].

  Raises:
    ValueError: when the grid has another rank than the patch or is not
      divisible by it.
  """
  sizes = shape[1:-1]
  if len(sizes) != len(patch):
    raise ValueError(
      f'a patch of {len(patch)} axes cannot cut an input of shape {shape}; '
      'give `patch` one size for each axis between batch and channels')
  if any(s % p for s, p in zip(sizes, patch, strict=True)):
    raise ValueError(
      f'size {sizes} is not divisible by patch {patch}; resize or pad the '
      'data, or choose a patch that divides it')
  return tuple(s // p for s, p in zip(sizes, patch, strict=True))


def patchify(x: Array, patch: tuple[int, ...]) -> Array:
  """Cuts [B, S_1, ..., S_r, C] into tokens [B, N, prod(patch) C].

  Tokens are row-major over the grid S_i / p_i, and values within a token over
  (p_1, ..., p_r, C).
  """
  rank = len(patch)
  grid = [s // p for s, p in zip(x.shape[1:-1], patch, strict=True)]
  split = [n for pair in zip(grid, patch, strict=True) for n in pair]
  x = x.reshape(x.shape[0], *split, x.shape[-1])
  outer, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
  x = x.transpose(0, *outer, *inner, 2 * rank + 1)
  return x.reshape(x.shape[0], math.prod(grid), -1)


def unpatchify(
  tokens: Array, grid: tuple[int, ...], patch: tuple[int, ...]
) -> Array:
  """Inverts `patchify` for a grid of tokens."""
  rank = len(patch)
  x = tokens.reshape(tokens.shape[0], *grid, *patch, -1)
  pairs = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
  x = x.transpose(0, *pairs, 2 * rank + 1)
  sizes = [g * p for g, p in zip(grid, patch, strict=True)]
  return x.reshape(x.shape[0], *sizes, -1)


def _modulate(x: Array, shift: Array, scale: Array) -> Array:
  """Normalises tokens [B, N, D], then scales and shifts by [B, D]."""
  norm = nn.LayerNorm(
    epsilon=1e-6, use_bias=False, use_scale=False, use_fast_variance=False,
    dtype=x.dtype)
  return norm(x) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
  """Attention and MLP, both behind adaLN-Zero: equations (1) to (3)."""

  heads: int
  mlp_ratio: float = 4.0
  dropout: float = 0.0
  implementation: attention.Implementation = None
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(self, x: Array, c: Array, train: bool) -> tuple[Array, None]:
    """Maps tokens [B, N, D] under c [B, D]; the None is for `nn.scan`."""
    width = x.shape[-1]
    dense = functools.partial(layers.dense, dtype=self.dtype)
    drop = nn.Dropout(self.dropout, deterministic=not train)
    modulation = dense(6 * width, _zeros, name='modulation')(nn.silu(c))
    s1, m1, g1, s2, m2, g2 = jnp.split(
      layers.constrain(modulation, 'batch', 'whole'), 6, axis=-1)
    h = attention.SelfAttention(
      self.heads, implementation=self.implementation, dtype=self.dtype,
      name='attention')(_modulate(x, s1, m1))
    x = x + g1[:, None] * drop(h)
    h = dense(
      round(width * self.mlp_ratio), _xavier, name='mlp_hidden')(
      _modulate(x, s2, m2))
    h = layers.constrain(h, 'batch', None, 'hidden')
    h = dense(width, _xavier, name='mlp_out')(
      drop(nn.gelu(h, approximate=True)))
    x = x + g2[:, None] * drop(h)
    return layers.constrain(x, 'batch'), None


class DiT(nn.Module):
  """The diffusion transformer on 1-, 2- or 3-dimensional grids.

  Attributes:
    patch: sizes of a patch; its length is the rank of the grid.
    width: channels of a token.
    depth: number of blocks.
    heads: attention heads; they divide the width.
    mlp_ratio: hidden width of the MLP over the width.
    out_channels: channels of the output; None for those of the input, twice
      them for a learned variance.
    spare_channels: channels of the head after those, which are left out: SiT
      keeps the head of DiT, and half of what it gives.
    num_classes: labels that the table knows; 0 for a network without labels.
    null_label: the table has a row for no label; else that is no term in c.
    dropout: rate on the attention's output and in the MLP.
    remat: recompute blocks in the backward pass.
    remat_policy: what to save all the same (`jax.checkpoint_policies`).
    unroll: blocks per iteration of the scan.
    implementation: of the attention: None, 'xla' or 'cudnn'.
    dtype: compute dtype; None for that of x and the parameters.
  """

  patch: tuple[int, ...] = (2, 2)
  width: int = 384
  depth: int = 12
  heads: int = 6
  mlp_ratio: float = 4.0
  out_channels: int | None = None
  spare_channels: int = 0
  num_classes: int = 0
  null_label: bool = True
  dropout: float = 0.0
  remat: bool = False
  remat_policy: Callable[..., bool] | None = None
  unroll: int = 1
  implementation: attention.Implementation = None
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, ..., C] at noise [B] to [B, ..., out_channels].

    The output has at least float32, whatever the compute dtype.

    Args:
      x: the scaled input, one axis a patch size between batch and channels.
      noise: the official time input, used raw.
      cond: 'label' int [B]; -1, no key or None is the null label.
      train: dropout is on; needs the rng 'dropout'.

    Raises:
      ValueError: when the grid has another rank than `patch` or is not
        divisible by it.
    """
    grid = grid_of(x.shape, self.patch)
    exact = jnp.promote_types(x.dtype, jnp.float32)
    c = self._condition(noise.astype(exact), cond).astype(exact)
    c = layers.constrain(c, 'batch', 'whole')
    h = nn.Dense(
      self.width, kernel_init=_xavier, dtype=self.dtype,
      name='patch_in')(patchify(x, self.patch))
    h = h + embeddings.position_table(grid, self.width).astype(h.dtype)
    h, _ = self._blocks()(layers.constrain(h, 'batch'), c, train)
    channels = self.out_channels or x.shape[-1]
    out = self._head(h, c, channels + self.spare_channels)
    return unpatchify(out, grid, self.patch)[..., :channels]

  @nn.nowrap
  def _condition(self, noise: Array, cond: Cond) -> Array:
    """The vector c [B, width] of time and label, in at least float32."""
    code = embeddings.Positional(256, cos_first=True, endpoint=False)(noise)
    c = embeddings.NoiseMLP(
      self.width, kernel_init=_narrow, name='time')(code)
    if self.num_classes:
      c = c + embeddings.Label(
        self.num_classes, self.width, null_row=self.null_label,
        name='label')(cond, noise.shape[0])
    return c

  @nn.nowrap
  def _blocks(self) -> nn.Module:
    """The stack of blocks as one scanned module."""
    block = Block
    if self.remat:
      block = nn.remat(
        Block, prevent_cse=False, static_argnums=(3,),
        policy=self.remat_policy)
    stack = nn.scan(
      block, length=self.depth, unroll=self.unroll,
      variable_axes={'params': 0}, in_axes=(nn.broadcast, nn.broadcast),
      split_rngs={'params': True, 'dropout': True})
    return stack(
      self.heads, mlp_ratio=self.mlp_ratio, dropout=self.dropout,
      implementation=self.implementation, dtype=self.dtype, name='blocks')

  @nn.nowrap
  def _head(self, h: Array, c: Array, channels: int) -> Array:
    """Tokens [B, N, D] to patches [B, N, prod(patch) channels] in float32."""
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    modulation = nn.Dense(
      2 * self.width, kernel_init=_zeros, name='modulation')(nn.silu(c))
    shift, scale = jnp.split(
      layers.constrain(modulation, 'batch', 'whole'), 2, axis=-1)
    return nn.Dense(
      math.prod(self.patch) * channels, kernel_init=_zeros,
      name='patch_out')(_modulate(h, shift, scale))
