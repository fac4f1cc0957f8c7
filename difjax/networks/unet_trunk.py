"""What a U-Net and its encoder share: the noise's code and the way down.

The code of noise n, and of what stands beside it in the condition c, gives
every part the embedding

  e = MLP(code(n) + within(c)).                                           (1)

On the way down a pyramid, the input p halved once a level, may join the
features h (2011.13456, appendix H):

  input_skip:      p <- down(p),                h <- conv(p) + h or (conv(p), h)
  input_residual:  p <- (conv_down(p) + h) / d, h <- p                    (2)

with d = sqrt 2 where residuals are rescaled, else 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import embeddings, layers, resample, unet_blocks
from difjax.typing import Array, Cond

Map = Callable[[Array], Array]
Run = Callable[[nn.Module, Array], Array]


class Trunk(nn.Module):
  """The way down and the middle; not a network by itself.

  Attributes:
    channels: of the first level.
    code_width: what the code is told of its width; None for `channels`.
    embedding_width: of e; None for 4 `channels`.
    stem_channels: of the first convolution; None for `channels`.
    multipliers: channels of each level over `channels`.
    blocks_per_level: on the way down; one more on the way up.
    attention_resolutions: heights at which attention follows a block.
    conditional: whether the network sees the noise level in (1).
    dropout: rate inside residual blocks.
    skip_rescale: divide sums of a branch and its shortcut by sqrt 2.
    init_scale: of the last layers of branches and of the heads; 0 starts them
      silent.
    activation: between layers.
    encoding: factory of the code of the noise level.
    within: factory of what joins the code in (1); None: nothing.
    norm: factory of the norms.
    block: factory of the residual blocks.
    down: factory of what halves the size.
    attention: factory of the attention.
    input_skip: what halves the image that joins every level (2); None: none.
    input_cat: join it by concatenation, not by a sum.
    input_residual: factory of conv_down (2); None: none.
    unit_range: x is an image in [0, 1], taken to [-1, 1] first.
    remat: recompute every part in the backward pass.
    dtype: compute dtype; None for that of x and the parameters.
  """

  channels: int = 128
  code_width: int | None = None
  embedding_width: int | None = None
  stem_channels: int | None = None
  multipliers: tuple[float, ...] = (1, 2, 2, 2)
  blocks_per_level: int = 4
  attention_resolutions: tuple[int, ...] = (16,)
  conditional: bool = True
  dropout: float = 0.1
  skip_rescale: bool = True
  init_scale: float = 0.0
  activation: Map = nn.silu
  encoding: layers.Factory = embeddings.Positional
  within: layers.Factory | None = None
  norm: layers.Factory = layers.GroupNorm
  block: layers.Factory = unet_blocks.ResidualBlock
  down: layers.Factory = functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.average_down)
  attention: layers.Factory = unet_blocks.AttentionBlock
  input_skip: Map | None = None
  input_cat: bool = False
  input_residual: layers.Factory | None = None
  unit_range: bool = False
  remat: bool = False
  dtype: jax.typing.DTypeLike | None = None

  @nn.nowrap
  def _read(self, noise: Array, dtype: jax.typing.DTypeLike) -> Array:
    """The noise input [B] in at least float32."""
    dtype = jnp.promote_types(jnp.promote_types(noise.dtype, dtype), 'float32')
    return noise.astype(dtype)

  @nn.nowrap
  def _code(self, noise: Array, cond: Cond = None) -> Array | None:
    """Equation (1): [B, E] in float32; None where it is not seen."""
    if not self.conditional:
      return None
    code = self.encoding(
      width=self.code_width or self.channels, name='encoding')(noise)
    if self.within is not None:
      code += self.within(width=code.shape[-1], name='within')(cond, code)
    return embeddings.NoiseMLP(
      self.embedding_width or 4 * self.channels, activation=self.activation,
      name='time')(code)

  @nn.nowrap
  def _runner(self, emb: Array | None, train: bool) -> Run:
    """What calls a part on features."""
    call = lambda part, h, emb: part(h, emb, train)
    if self.remat:
      call = nn.remat(call)
    return lambda part, h: call(part, h, emb)

  @nn.nowrap
  def _part(
    self, factory: layers.Factory, level: int, name: str,
    channels: int | None = None
  ) -> nn.Module:
    """Makes the part of that name on that level."""
    return factory(
      channels=channels or round(self.channels * self.multipliers[level]),
      norm=self.norm, activation=self.activation, dropout=self.dropout,
      skip_rescale=self.skip_rescale, init_scale=self.init_scale,
      dtype=self.dtype, name=name)

  @nn.nowrap
  def _encode(self, x: Array, run: Run) -> list[Array]:
    """Goes down from an image; gives every output on the way."""
    pyramid = 2 * x - 1 if self.unit_range else x
    stem = layers.conv(
      self.stem_channels or self.channels, 3, dtype=self.dtype, name='stem')
    skips = [layers.constrain(stem(pyramid), 'batch')]
    for level in range(len(self.multipliers)):
      if level:
        down = self._part(self.down, level - 1, f'down_{level - 1}_resample')
        h = run(down, skips[-1])
        pyramid, h = self._join(pyramid, h, f'down_{level - 1}_pyramid')
        skips.append(h)
      for i in range(self.blocks_per_level):
        h = run(
          self._part(self.block, level, f'down_{level}_block_{i}'), skips[-1])
        if h.shape[1] in self.attention_resolutions:
          h = run(
            self._part(self.attention, level, f'down_{level}_attention_{i}'), h)
        skips.append(h)
    return skips

  @nn.nowrap
  def _join(self, pyramid: Array, h: Array, name: str) -> tuple[Array, Array]:
    """Equations (2): the pyramid and the features of the next level."""
    if self.input_skip is not None:
      pyramid = self.input_skip(pyramid)
      image = layers.conv(
        h.shape[-1], 1, dtype=self.dtype, name=name)(pyramid)
      h = jnp.concatenate([image, h], -1) if self.input_cat else image + h
    if self.input_residual is not None:
      down = self._part(self.input_residual, 0, name, h.shape[-1])
      pyramid = h = unet_blocks.merge(down(pyramid), h, self.skip_rescale)
    return pyramid, h

  @nn.nowrap
  def _middle(self, h: Array, run: Run) -> Array:
    """Block, attention, block on the lowest level."""
    level = len(self.multipliers) - 1
    h = run(self._part(self.block, level, 'mid_block_0'), h)
    h = run(self._part(self.attention, level, 'mid_attention'), h)
    return run(self._part(self.block, level, 'mid_block_1'), h)
