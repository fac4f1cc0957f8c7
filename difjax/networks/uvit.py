"""U-ViT: a transformer with the long skips of a U-Net (Bao et al., 2209.12152).

Label, noise level and patches are tokens alike, each with a learned position.
Every block is a plain one,

  x <- x + attention(norm(x)),   x <- x + mlp(norm(x)),                   (1)

the first half of them remember what they give, and those of the second half
take it up, the last first, before anything else,

  x <- Linear(x, remembered).                                             (2)

Each half is scanned over: its parameters have a leading axis of depth / 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import attention, dit, embeddings, layers
from difjax.typing import Array, Cond

_narrow = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
  """Equations (1), and with something remembered (2) before."""

  heads: int
  mlp_ratio: float = 4.0
  implementation: attention.Implementation = None
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, remembered: Array | None = None
  ) -> tuple[Array, Array]:
    """Maps tokens [B, N, D]; twice, once as what is to be remembered."""
    width = x.shape[-1]
    dense = lambda n, name: nn.Dense(
      n, kernel_init=_narrow, dtype=self.dtype, name=name)
    norm = lambda name: nn.LayerNorm(
      epsilon=1e-5, use_fast_variance=False, dtype=x.dtype, name=name)
    if remembered is not None:
      x = dense(width, 'skip')(jnp.concatenate([x, remembered], axis=-1))
    x = x + attention.SelfAttention(
      self.heads, qkv_init=_narrow, out_init=_narrow, qkv_bias=False,
      implementation=self.implementation, dtype=self.dtype,
      name='attention')(norm('norm_0')(x))
    h = dense(round(width * self.mlp_ratio), 'mlp_hidden')(norm('norm_1')(x))
    x = x + dense(width, 'mlp_out')(nn.gelu(h, approximate=False))
    x = layers.constrain(x, 'batch')
    return x, x


class UViT(nn.Module):
  """U-ViT on 1-, 2- or 3-dimensional grids; the defaults are S/2.

  Attributes:
    patch: sizes of a patch; its length is the rank of the grid.
    width: channels of a token.
    depth: number of blocks beside the one in the middle, even.
    heads: attention heads; they divide the width.
    mlp_ratio: hidden width of the MLP over the width.
    num_classes: labels that the table knows; 0 for a network without labels.
    final_conv: a convolution over the image at the end.
    remat: recompute blocks in the backward pass.
    remat_policy: what to save all the same (`jax.checkpoint_policies`).
    implementation: of the attention: None, 'xla' or 'cudnn'.
    dtype: compute dtype; None for that of x and the parameters.
  """

  patch: tuple[int, ...] = (2, 2)
  width: int = 512
  depth: int = 12
  heads: int = 8
  mlp_ratio: float = 4.0
  num_classes: int = 0
  final_conv: bool = True
  remat: bool = False
  remat_policy: Callable[..., bool] | None = None
  implementation: attention.Implementation = None
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, ..., C] at noise [B] to [B, ..., C], at least in float32.

    Args:
      x: the scaled input, one axis a patch size between batch and channels.
      noise: the official time input, used raw.
      cond: 'label' int [B]; -1, no key or None is the null label.
      train: without effect.

    Raises:
      ValueError: when the grid has another rank than `patch` or is not
        divisible by it, or the depth is odd.
    """
    del train
    if self.depth % 2:
      raise ValueError(f'UViT: depth {self.depth} has no two halves; add one')
    grid, channels = dit.grid_of(x.shape, self.patch), x.shape[-1]
    exact = jnp.promote_types(x.dtype, jnp.float32)
    h = nn.Dense(
      self.width, kernel_init=_narrow, dtype=self.dtype,
      name='patch_in')(dit.patchify(x, self.patch))
    first = self._tokens(noise.astype(exact), cond)
    h = jnp.concatenate([*(t[:, None].astype(h.dtype) for t in first), h], 1)
    positions = self.param('positions', _narrow, (1, *h.shape[1:]))
    h = self._blocks(layers.constrain(h + positions.astype(h.dtype), 'batch'))
    h = nn.LayerNorm(
      epsilon=1e-5, use_fast_variance=False, name='norm')(h.astype(exact))
    out = nn.Dense(
      math.prod(self.patch) * channels, kernel_init=_narrow,
      name='patch_out')(h[:, len(first):])
    out = dit.unpatchify(out, grid, self.patch)
    if self.final_conv:
      out = nn.Conv(channels, (3,) * len(grid), name='final')(out)
    return out

  @nn.nowrap
  def _tokens(self, noise: Array, cond: Cond) -> list[Array]:
    """The tokens [B, width] before those of patches."""
    time = embeddings.Positional(self.width, cos_first=True, endpoint=False)
    found = [time(noise)]
    if self.num_classes:
      label = embeddings.Label(self.num_classes, self.width, name='label')
      found.insert(0, label(cond, noise.shape[0]))
    return found

  @nn.nowrap
  def _blocks(self, h: Array) -> Array:
    """Both halves and the block in the middle."""
    kind = Block
    if self.remat:
      kind = nn.remat(Block, prevent_cse=False, policy=self.remat_policy)
    scan = nn.scan(
      kind, length=self.depth // 2, variable_axes={'params': 0},
      split_rngs={'params': True})
    make = lambda part, name: part(
      self.heads, mlp_ratio=self.mlp_ratio, implementation=self.implementation,
      dtype=self.dtype, name=name)
    h, remembered = make(scan, 'first')(h)
    h, _ = make(kind, 'middle')(h)
    h, _ = make(scan, 'second')(h, remembered[::-1])
    return h
