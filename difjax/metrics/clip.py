"""CLIP: images and texts in one space (Radford et al., 2103.00020).

Two transformers of the plain kind, norms first,

  x <- x + attention(norm(x)),   x <- x + mlp(norm(x)),                   (1)

one over patches behind a class token, one over the tokens of a text, each of
which attends to those before it. An image is read at the class token, a text at
its end; a linear map takes both to one space, where the cosine of the two is
the CLIP score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import dit
from difjax.typing import Array


class Activations(NamedTuple):
  """What a tower gives of B inputs of N tokens.

  Attributes:
    penultimate: [B, N, D] before the last block.
    last: [B, N, D] after it; of texts normed, of images not.
    pooled: [B, D] at the token that stands for the whole, normed.
    projected: [B, E] in the common space; `pooled` of a tower without one.
  """

  penultimate: Array
  last: Array
  pooled: Array
  projected: Array


def quick_gelu(x: Array) -> Array:
  """The activation of OpenAI's weights, x sigmoid(1.702 x)."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Array) -> Array:
  """The exact GELU, of OpenCLIP's weights."""
  return jax.nn.gelu(x, approximate=False)


def cosines(a: Array, b: Array) -> Array:
  """Returns the cosine [B] of each row of a [B, E] and that of b."""
  unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  return (unit(a) * unit(b)).sum(-1)


def _norm(x: Array, name: str) -> Array:
  return nn.LayerNorm(
    epsilon=1e-5, use_fast_variance=False, dtype=x.dtype, name=name)(x)


class Block(nn.Module):
  """Equations (1)."""

  heads: int
  hidden: int
  activation: Callable[[Array], Array]
  causal: bool

  @nn.compact
  def __call__(self, x: Array, mask: Array | None = None) -> Array:
    """Maps tokens [B, N, D]; mask [B, N] says which are attended to."""
    batch, tokens, width = x.shape
    dense = lambda n, name: nn.Dense(n, dtype=x.dtype, name=name)
    qkv = dense(3 * width, 'qkv')(_norm(x, 'norm_0'))
    q, k, v = jnp.split(
      qkv.reshape(batch, tokens, 3 * self.heads, -1), 3, axis=2)
    h = jax.nn.dot_product_attention(
      q, k, v, is_causal=self.causal, implementation='xla',
      mask=None if mask is None else mask[:, None, None].astype(bool))
    x = x + dense(width, 'out')(h.reshape(batch, tokens, width))
    h = self.activation(dense(self.hidden, 'mlp_hidden')(_norm(x, 'norm_1')))
    return x + dense(width, 'mlp_out')(h)


class Trunk(nn.Module):
  """A row of blocks."""

  depth: int
  heads: int
  hidden: int
  activation: Callable[[Array], Array] = quick_gelu
  causal: bool = False

  @nn.compact
  def __call__(
    self, x: Array, mask: Array | None = None
  ) -> tuple[Array, Array]:
    """Maps tokens to those before and after the last block."""
    before = x
    for i in range(self.depth):
      before = x
      x = Block(
        self.heads, self.hidden, self.activation, self.causal,
        name=f'block_{i}')(x, mask)
    return before, x


class ImageTower(nn.Module):
  """The vision transformer; the defaults are those of ViT-B/32.

  Attributes:
    trunk: makes the blocks.
    width: channels of a token.
    patch: side of a patch.
    projection: E; 0 for no projection.
  """

  trunk: Callable[..., nn.Module] = lambda **names: Trunk(12, 12, 3072, **names)
  width: int = 768
  patch: int = 32
  projection: int = 512

  @nn.compact
  def __call__(self, x: Array) -> Activations:
    """Maps x [B, H, W, 3], standardised by channel, to its activations."""
    init = nn.initializers.normal(0.02)
    h = nn.Dense(
      self.width, use_bias=False, dtype=x.dtype, name='patch_in')(
        dit.patchify(x, (self.patch, self.patch)))
    first = self.param('class', init, (self.width,)).astype(x.dtype)
    first = jnp.broadcast_to(first, (len(x), 1, self.width))
    h = jnp.concatenate([first, h], axis=1)
    h = h + self.param('positions', init, h.shape[1:]).astype(x.dtype)
    before, last = self.trunk(name='trunk')(_norm(h, 'norm_in'))
    pooled = _norm(last[:, 0], 'norm_out')
    return Activations(
      before, last, pooled, _project(pooled, self.projection))


class TextTower(nn.Module):
  """The text transformer; the defaults are those beside ViT-B/32.

  Attributes:
    trunk: makes the blocks.
    width: channels of a token.
    tokens: in the vocabulary.
    length: of the longest text in tokens.
    projection: E; 0 for no projection.
    end: the token at whose first place a text is read; None for the place of
      the highest token.
  """

  trunk: Callable[..., nn.Module] = lambda **names: Trunk(
    12, 8, 2048, causal=True, **names)
  width: int = 512
  tokens: int = 49408
  length: int = 77
  projection: int = 512
  end: int | None = None

  @nn.compact
  def __call__(self, ids: Array, mask: Array | None = None) -> Activations:
    """Maps tokens [B, N <= length] to their activations.

    Args:
      ids: of tokens.
      mask: [B, N], which tokens are attended to; None for all before.
    """
    init = nn.initializers.normal(0.02)
    table = self.param('embedding', init, (self.tokens, self.width))
    places = self.param('positions', init, (self.length, self.width))
    h = table[ids] + places[:ids.shape[1]]
    before, last = self.trunk(name='trunk')(h, mask)
    last = _norm(last, 'norm_out')
    ends = ids if self.end is None else ids == self.end
    place = jnp.argmax(ends, axis=-1)
    pooled = jnp.take_along_axis(last, place[:, None, None], axis=1)[:, 0]
    return Activations(
      before, last, pooled, _project(pooled, self.projection))


def _project(pooled: Array, features: int) -> Array:
  """A linear map without bias to the common space, where there is one."""
  if not features:
    return pooled
  return nn.Dense(
    features, use_bias=False, dtype=pooled.dtype, name='projection')(pooled)
