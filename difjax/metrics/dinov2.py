"""DINOv2: a vision transformer without labels (Oquab et al., 2304.07193).

Blocks are of the plain kind, norms first, with a factor a channel behind each
branch (layer scale, Touvron et al., 2103.17239),

  x <- x + g_1 attention(norm(x)),   x <- x + g_2 mlp(norm(x)),           (1)

over patches behind a class token, which is read at the end. Embeddings of
places were learned on a grid of M x M patches, 37 x 37 of 14 pixels. On a grid
of n patches a side place i is read at

  r (i + 1/2) - 1/2,   r = M / (n + offset),                              (2)

with Keys' cubic of a = -3/4, the edge being repeated: PyTorch's resize. The
official code has an offset of 0.1, which moves the last of 16 places by 0.2
patches; transformers has none. A Frechet distance wants the official one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.metrics import clip
from difjax.networks import dit
from difjax.typing import Array

PATCH = 14  # pixels of a side
_SHARPNESS = -0.75  # a of the cubic


class Activations(NamedTuple):
  """What the network gives of B images of N patches, after the last norm.

  Attributes:
    pooled: [B, D] the class token: what FD-DINOv2 compares.
    patches: [B, N, D] row by row.
  """

  pooled: Array
  patches: Array


def _norm(x: Array, name: str) -> Array:
  return nn.LayerNorm(
    epsilon=1e-6, use_fast_variance=False, dtype=x.dtype, name=name)(x)


class Block(nn.Module):
  """Equations (1)."""

  heads: int
  hidden: int
  gated: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps tokens [B, N, D]."""
    batch, tokens, width = x.shape
    dense = lambda n, name: nn.Dense(n, dtype=x.dtype, name=name)
    scale = lambda name: self.param(
      name, nn.initializers.ones, (width,)).astype(x.dtype)
    qkv = dense(3 * width, 'qkv')(_norm(x, 'norm_0'))
    q, k, v = jnp.split(
      qkv.reshape(batch, tokens, 3 * self.heads, -1), 3, axis=2)
    h = jax.nn.dot_product_attention(q, k, v, implementation='xla')
    h = dense(width, 'out')(h.reshape(batch, tokens, width))
    x = x + scale('scale_0') * h
    h = _norm(x, 'norm_1')
    if self.gated:
      gate, h = jnp.split(dense(2 * self.hidden, 'mlp_hidden')(h), 2, axis=-1)
      h = nn.silu(gate) * h
    else:
      h = clip.gelu(dense(self.hidden, 'mlp_hidden')(h))
    return x + scale('scale_1') * dense(width, 'mlp_out')(h)


class Dinov2(nn.Module):
  """The network; the defaults are those of ViT-L/14.

  Attributes:
    width: D, channels of a token; 384 of ViT-S, 768 of B, 1536 of g.
    depth: blocks; 12, 12, 40.
    heads: of attention, of 64 channels each; 6, 12, 24.
    hidden: channels inside an MLP; 4 D, and 4096 of g.
    gated: whether MLPs are SwiGLU: those of g.
    patch: side of a patch.
    grid: M, patches a side that places were learned on.
    offset: in (2).
  """

  width: int = 1024
  depth: int = 24
  heads: int = 16
  hidden: int = 4096
  gated: bool = False
  patch: int = PATCH
  grid: int = 37
  offset: float = 0.1

  @nn.compact
  def __call__(self, x: Array) -> Activations:
    """Maps x [B, H, W, 3], standardised by channel, to its activations.

    H and W are multiples of `patch`.
    """
    init = nn.initializers.normal(0.02)
    h = nn.Dense(self.width, dtype=x.dtype, name='patch_in')(
      dit.patchify(x, (self.patch, self.patch)))
    first = self.param('class', init, (self.width,))
    places = self.param('positions', init, (1 + self.grid**2, self.width))
    shape = tuple(side // self.patch for side in x.shape[1:3])
    learned = places[1:].reshape(self.grid, self.grid, self.width)
    h = h + self._placed(learned, shape).astype(x.dtype)
    first = jnp.broadcast_to(first + places[0], (len(x), 1, self.width))
    h = jnp.concatenate([first.astype(x.dtype), h], axis=1)
    for i in range(self.depth):
      h = Block(
        self.heads, self.hidden, self.gated, name=f'block_{i}')(h)
    h = _norm(h, 'norm_out')
    return Activations(pooled=h[:, 0], patches=h[:, 1:])

  def _placed(self, learned: Array, shape: tuple[int, int]) -> Array:
    """Returns the embeddings [N, D] of the places of another grid: (2)."""
    if shape != learned.shape[:2]:
      rows, columns = (places(self.grid, n, self.offset) for n in shape)
      highest = jax.lax.Precision.HIGHEST
      learned = jnp.einsum('vw,hwd->hvd', columns, learned, precision=highest)
      learned = jnp.einsum('uh,hvd->uvd', rows, learned, precision=highest)
    return learned.reshape(-1, self.width)


def places(size: int, new: int, offset: float) -> np.ndarray:
  """Returns the matrix [new, size] of equation (2), float32."""
  at = (np.arange(new) + 0.5) * (size / (new + offset)) - 0.5
  start = np.floor(at).astype(int)
  matrix = np.zeros((new, size))
  for step in range(-1, 3):
    weights = _cubic(np.abs(at - start - step))
    column = np.clip(start + step, 0, size - 1)
    np.add.at(matrix, (np.arange(new), column), weights)
  return matrix.astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
  """Returns the cubic of Keys (1981) at distances 0 <= x <= 2."""
  a = _SHARPNESS
  near = 1 + x**2 * ((a + 2) * x - (a + 3))
  far = a * (-4 + x * (8 + x * (x - 5)))
  return np.where(x <= 1, near, far)
