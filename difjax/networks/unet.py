"""One U-Net for the DDPM and score-SDE families.

Down a ladder of levels, each half the size of the one above, through the
middle and up again; every output on the way down is concatenated on the way
up. What varies between published networks is which factories make the parts:

| network | block, down, up                       | pyramids              |
|---------|---------------------------------------|-----------------------|
| DDPM    | ResidualBlock, ConvDown, ConvUp       | none                  |
| DDPM++  | ResidualBlock, the same with [1, 1]   | none                  |
| NCSN++  | ResidualBlock, the same with FIR      | input_residual        |
| NCSN++ at 256 and 1024 | as NCSN++              | input_skip, output_skip |

DDPM alone does without skip_rescale. The embedding of noise n and label l,
given to every part, is

  e = MLP(code(n)) + table(l)                                             (1)

Pyramids carry images or features past the blocks (2011.13456, appendix H). On
the way down the input p, halved once a level, joins the features h:

  input_skip:      p <- down(p),                h <- conv(p) + h or (conv(p), h)
  input_residual:  p <- (conv_down(p) + h) / d, h <- p                    (2)

and on the way up, at the end of a level, from p = 0 or a convolution of h:

  output_skip:      p <- up(p) + head(h), in the end the output
  output_residual:  p <- (conv_up(p) + h) / d,  h <- p                    (3)

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
    conditional: whether the network sees the noise level in (1).
    dropout: rate inside residual blocks.
    skip_rescale: divide sums of a branch and its shortcut by sqrt 2.
    init_scale: of the last layers of branches and of the heads; 0 starts them
      silent.
    activation: between layers.
    encoding: factory of the code of the noise level.
    norm: factory of the norms.
    block: factory of the residual blocks.
    down: factory of what halves the size.
    up: factory of what doubles it.
    attention: factory of the attention.
    input_skip: what halves the image that joins every level (2); None: none.
    input_cat: join it by concatenation, not by a sum.
    input_residual: factory of conv_down (2); None: none.
    output_skip: what doubles the sum of the heads of all levels (3); None for
      one head at the end.
    output_residual: factory of conv_up (3); None: none.
    unit_range: x is an image in [0, 1], taken to [-1, 1] first.
    scale_by_sigma: divide the output by sigma.
    sigma: from the noise input to that sigma; None where it is the same.
    remat: recompute every part in the backward pass.
    dtype: compute dtype; None for that of x and the parameters.
  """

  channels: int = 128
  multipliers: tuple[int, ...] = (1, 2, 2, 2)
  blocks_per_level: int = 4
  attention_resolutions: tuple[int, ...] = (16,)
  attention_every_up_block: bool = False
  out_channels: int | None = None
  num_classes: int = 0
  conditional: bool = True
  dropout: float = 0.1
  skip_rescale: bool = True
  init_scale: float = 0.0
  activation: Map = nn.silu
  encoding: layers.Factory = embeddings.Positional
  norm: layers.Factory = layers.GroupNorm
  block: layers.Factory = unet_blocks.ResidualBlock
  down: layers.Factory = functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.average_down)
  up: layers.Factory = functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.nearest_up)
  attention: layers.Factory = unet_blocks.AttentionBlock
  input_skip: Map | None = None
  input_cat: bool = False
  input_residual: layers.Factory | None = None
  output_skip: Map | None = None
  output_residual: layers.Factory | None = None
  unit_range: bool = False
  scale_by_sigma: bool = False
  sigma: Map | None = None
  remat: bool = False
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to [B, H, W, out_channels] in float32.

    Args:
      x: the scaled input; in float64 all is computed in float64.
      noise: the official time input, used raw.
      cond: 'label' int [B]; -1, no key or None is the null label.
      train: dropout is on; needs the rng 'dropout'.

    Raises:
      ValueError: when the levels do not divide the size.
    """
    self._check(x.shape)
    image = 2 * x - 1 if self.unit_range else x
    noise = self._read(noise, x.dtype)
    run = self._runner(self._embed(noise, cond), train)
    h = layers.conv(self.channels, 3, dtype=self.dtype, name='stem')(image)
    skips = self._encode(image, layers.constrain(h, 'batch'), run)
    out = self._decode(
      self._middle(skips[-1], run), skips, run,
      self.out_channels or x.shape[-1])
    if self.scale_by_sigma:
      sigma = noise if self.sigma is None else self.sigma(noise)
      out = out / sigma[:, None, None, None].astype(out.dtype)
    return out

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
  def _read(self, noise: Array, dtype: jax.typing.DTypeLike) -> Array:
    """The noise input [B] in at least float32."""
    dtype = jnp.promote_types(jnp.promote_types(noise.dtype, dtype), 'float32')
    return noise.astype(dtype)

  @nn.nowrap
  def _embed(self, noise: Array, cond: Cond) -> Array | None:
    """Equation (1): [B, 4 channels] in float32; None if it has no term."""
    width, terms = 4 * self.channels, []
    if self.conditional:
      code = self.encoding(width=self.channels, name='encoding')(noise)
      terms.append(embeddings.NoiseMLP(
        width, activation=self.activation, name='time')(code))
    if self.num_classes:
      label = embeddings.Label(self.num_classes, width, name='label')
      terms.append(label(cond, noise.shape[0]))
    return sum(terms) if terms else None

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
      channels=channels or self.channels * self.multipliers[level],
      norm=self.norm, activation=self.activation, dropout=self.dropout,
      skip_rescale=self.skip_rescale, init_scale=self.init_scale,
      dtype=self.dtype, name=name)

  @nn.nowrap
  def _encode(self, pyramid: Array, h: Array, run: Run) -> list[Array]:
    """Goes down; gives every output on the way."""
    skips = [h]
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

  @nn.nowrap
  def _decode(
    self, h: Array, skips: list[Array], run: Run, channels: int
  ) -> Array:
    """Goes up, taking the outputs of the way down from the last."""
    skips, pyramid, image = list(skips), None, 0.0
    for level in reversed(range(len(self.multipliers))):
      for i in range(self.blocks_per_level + 1):
        h = jnp.concatenate([h, skips.pop()], axis=-1)
        h = run(self._part(self.block, level, f'up_{level}_block_{i}'), h)
        last = i == self.blocks_per_level
        if (h.shape[1] in self.attention_resolutions
            and (last or self.attention_every_up_block)):
          h = run(
            self._part(self.attention, level, f'up_{level}_attention_{i}'), h)
      if self.output_residual is not None:
        pyramid, h = self._rise(pyramid, h, f'up_{level}_pyramid')
      if self.output_skip is not None:
        image = image + self._head(h, channels, f'head_{level}')
      if level:
        h = run(self._part(self.up, level, f'up_{level}_resample'), h)
        if self.output_skip is not None:
          image = self.output_skip(image)
    if self.output_skip is None:
      image = self._head(h, channels, 'head')
    return image

  @nn.nowrap
  def _rise(
    self, pyramid: Array | None, h: Array, name: str
  ) -> tuple[Array, Array]:
    """Equation (3) of residuals: the pyramid and the features of a level."""
    if pyramid is None:
      normed = self.norm(dtype=self.dtype, name=f'{name}_norm')(h)
      return layers.conv(
        h.shape[-1], 3, dtype=self.dtype, name=name)(self.activation(normed)), h
    up = self._part(self.output_residual, 0, name, h.shape[-1])
    pyramid = unet_blocks.merge(up(pyramid), h, self.skip_rescale)
    return pyramid, pyramid

  @nn.nowrap
  def _head(self, h: Array, channels: int, name: str) -> Array:
    """From features to an image, in at least float32."""
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    h = self.activation(self.norm(dtype=h.dtype, name=f'{name}_norm')(h))
    return layers.conv(
      channels, 3, scale=self.init_scale, dtype=h.dtype, name=name)(h)
