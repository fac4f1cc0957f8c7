"""One U-Net for the DDPM and score-SDE families.

Down a ladder of levels, each half the size of the one above, through the
middle and up again; every output on the way down is concatenated on the way
up. What varies between published networks is which factories make the parts:

| network | block, down, up                            | skip_rescale |
|---------|--------------------------------------------|--------------|
| DDPM++  | ResidualBlock, the same with resampling    | True         |
| DDPM    | ResidualBlock, ConvDown, ConvUp            | False        |

The embedding of noise n and label l, given to every part, is

  e = MLP(code(n)) + table(l)                                             (1)
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import embeddings, layers, resample, unet_blocks
from difjax.typing import Array, Cond

Run = Callable[[nn.Module, Array], Array]


class UNet(nn.Module):
  """The U-Net; the defaults are DDPM++ of score SDE for CIFAR-10.

  Attributes:
    channels: of the first level.
    multipliers: channels of each level over `channels`.
    blocks_per_level: on the way down; one more on the way up.
    attention_resolutions: heights at which attention follows a block.
    attention_every_up_block: on the way up after every block of such a level,
      not only after the last.
    out_channels: channels of the output; None for those of the input.
    num_classes: labels that the table knows; 0 for a network without labels.
    dropout: rate inside residual blocks.
    skip_rescale: divide sums of a branch and its shortcut by sqrt 2.
    encoding: factory of the code of the noise level.
    norm: factory of the norms.
    block: factory of the residual blocks.
    down: factory of what halves the size.
    up: factory of what doubles it.
    attention: factory of the attention.
    remat: recompute every part in the backward pass.
    dtype: compute dtype.
  """

  channels: int = 128
  multipliers: tuple[int, ...] = (1, 2, 2, 2)
  blocks_per_level: int = 4
  attention_resolutions: tuple[int, ...] = (16,)
  attention_every_up_block: bool = False
  out_channels: int | None = None
  num_classes: int = 0
  dropout: float = 0.1
  skip_rescale: bool = True
  encoding: layers.Factory = embeddings.Positional
  norm: layers.Factory = layers.GroupNorm
  block: layers.Factory = unet_blocks.ResidualBlock
  down: layers.Factory = functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.average_down)
  up: layers.Factory = functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.nearest_up)
  attention: layers.Factory = unet_blocks.AttentionBlock
  remat: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to [B, H, W, out_channels] in float32.

    Args:
      x: the scaled input.
      noise: the official time input, used raw.
      cond: 'label' int [B]; -1, no key or None is the null label.
      train: dropout is on; needs the rng 'dropout'.

    Raises:
      ValueError: when the levels do not divide the size.
    """
    self._check(x.shape)
    run = self._runner(self._embed(noise, cond), train)
    h = layers.conv(self.channels, 3, dtype=self.dtype, name='stem')(x)
    skips = self._encode(layers.constrain(h, 'batch'), run)
    h = self._decode(self._middle(skips[-1], run), skips, run)
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    h = nn.silu(self.norm(dtype=h.dtype, name='head_norm')(h))
    return layers.conv(
      self.out_channels or x.shape[-1], 3, scale=0.0, dtype=h.dtype,
      name='head')(h)

  @nn.nowrap
  def _check(self, shape: tuple[int, ...]) -> None:
    """Refuses sizes that cannot be halved once a level."""
    factor = 2 ** (len(self.multipliers) - 1)
    if len(shape) != 4 or shape[1] % factor or shape[2] % factor:
      raise ValueError(
        f'UNet: an input of shape {shape} cannot be halved '
        f'{len(self.multipliers) - 1} times; resize or pad the data to '
        f'[B, H, W, C] with sides divisible by {factor}, or use fewer levels')

  @nn.nowrap
  def _embed(self, noise: Array, cond: Cond) -> Array:
    """Equation (1): [B, 4 channels] in float32."""
    code = self.encoding(width=self.channels, name='encoding')(noise)
    width = 4 * self.channels
    emb = embeddings.NoiseMLP(width, name='time')(code)
    if self.num_classes:
      label = embeddings.Label(self.num_classes, width, name='label')
      emb = emb + label(cond, noise.shape[0])
    return emb

  @nn.nowrap
  def _runner(self, emb: Array, train: bool) -> Run:
    """What calls a part on features."""
    call = lambda part, h, emb: part(h, emb, train)
    if self.remat:
      call = nn.remat(call)
    return lambda part, h: call(part, h, emb)

  @nn.nowrap
  def _part(self, factory: layers.Factory, level: int, name: str) -> nn.Module:
    """Makes the part of that name on that level."""
    return factory(
      channels=self.channels * self.multipliers[level], norm=self.norm,
      dropout=self.dropout, skip_rescale=self.skip_rescale, dtype=self.dtype,
      name=name)

  @nn.nowrap
  def _encode(self, h: Array, run: Run) -> list[Array]:
    """Goes down; gives every output on the way."""
    skips = [h]
    for level in range(len(self.multipliers)):
      if level:
        down = self._part(self.down, level - 1, f'down_{level - 1}_resample')
        skips.append(run(down, skips[-1]))
      for i in range(self.blocks_per_level):
        h = run(
          self._part(self.block, level, f'down_{level}_block_{i}'), skips[-1])
        if h.shape[1] in self.attention_resolutions:
          h = run(
            self._part(self.attention, level, f'down_{level}_attention_{i}'), h)
        skips.append(h)
    return skips

  @nn.nowrap
  def _middle(self, h: Array, run: Run) -> Array:
    """Block, attention, block on the lowest level."""
    level = len(self.multipliers) - 1
    h = run(self._part(self.block, level, 'mid_block_0'), h)
    h = run(self._part(self.attention, level, 'mid_attention'), h)
    return run(self._part(self.block, level, 'mid_block_1'), h)

  @nn.nowrap
  def _decode(self, h: Array, skips: list[Array], run: Run) -> Array:
    """Goes up, taking the outputs of the way down from the last."""
    skips = list(skips)
    for level in reversed(range(len(self.multipliers))):
      for i in range(self.blocks_per_level + 1):
        h = jnp.concatenate([h, skips.pop()], axis=-1)
        h = run(self._part(self.block, level, f'up_{level}_block_{i}'), h)
        last = i == self.blocks_per_level
        if (h.shape[1] in self.attention_resolutions
            and (last or self.attention_every_up_block)):
          h = run(
            self._part(self.attention, level, f'up_{level}_attention_{i}'), h)
      if level:
        h = run(self._part(self.up, level, f'up_{level}_resample'), h)
    return h
