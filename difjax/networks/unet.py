"""One U-Net for the DDPM, score-SDE and ADM families.

Down a ladder of levels, each half the size of the one above, through the
middle and up again; every output on the way down is concatenated on the way
up. What varies between published networks is which factories make the parts:

| network | block, down, up                       | pyramids              |
|---------|---------------------------------------|-----------------------|
| DDPM    | ResidualBlock, ConvDown, ConvUp       | none                  |
| DDPM++  | ResidualBlock, the same with [1, 1]   | none                  |
| NCSN++  | ResidualBlock, the same with FIR      | input_residual        |
| NCSN++ at 256 and 1024 | as NCSN++              | input_skip, output_skip |
| ADM     | ResidualBlock with scale_shift, the same with [1, 1] | none   |
| improved DDPM | ResidualBlock with scale_shift, ConvDown, ConvUp | none |
| EDM     | those of DDPM++, NCSN++ and ADM       | theirs                |

DDPM and those below NCSN++ do without skip_rescale. The embedding of noise n
and label l, given to every part, is

  e = MLP(code(n) + within(c)) + table(l)                                 (1)

where EDM's networks put the label, and how an image was augmented, within.

Pyramids carry images or features past the blocks (2011.13456, appendix H): on
the way down as in `unet_trunk`, and on the way up, at the end of a level, from
p = 0 or a convolution of h:

  output_skip:      p <- up(p) + head(h), in the end the output
  output_residual:  p <- (conv_up(p) + h) / d,  h <- p                    (2)

with d = sqrt 2 where residuals are rescaled, else 1.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import (
  embeddings,
  layers,
  resample,
  unet_blocks,
  unet_trunk,
)
from difjax.typing import Array, Cond


class UNet(unet_trunk.Trunk):
  """The U-Net; the defaults are DDPM++ of score SDE for CIFAR-10.

  Attributes:
    attention_every_up_block: on the way up after every block of such a level,
      not only after the last.
    attention_up: factory of the attention on the way up; None for the same as
      on the way down.
    out_channels: channels of the output; None for those of x. Twice them
      where a variance is learned.
    num_classes: labels that the table knows; 0 for a network without labels.
    null_label: the table has a row for no label; else that is no term in (1).
    up: factory of what doubles the size.
    output_skip: what doubles the sum of the heads of all levels (2); None for
      one head at the end.
    output_residual: factory of conv_up (2); None: none.
    low_res: the network enlarges images: it sees cond['low_res'] beside x.
    scale_by_sigma: divide the output by sigma.
    sigma: from the noise input to that sigma; None where it is the same.
  """

  attention_every_up_block: bool = False
  attention_up: layers.Factory | None = None
  out_channels: int | None = None
  num_classes: int = 0
  null_label: bool = True
  up: layers.Factory = functools.partial(
    unet_blocks.ResidualBlock, resampling=resample.nearest_up)
  output_skip: unet_trunk.Map | None = None
  output_residual: layers.Factory | None = None
  low_res: bool = False
  scale_by_sigma: bool = False
  sigma: unet_trunk.Map | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to [B, H, W, out_channels] in float32.

    Args:
      x: the scaled input; in float64 all is computed in float64.
      noise: the official time input, used raw.
      cond: 'label' int [B]; -1, no key or None is the null label. 'low_res'
        [B, h, w, C] in the range of x, where the network enlarges it. What
        `within` reads.
      train: dropout is on; needs the rng 'dropout'.

    Raises:
      ValueError: when the levels do not divide the size, or there is nothing
        to enlarge.
    """
    layers.check_halving(self, x.shape, len(self.multipliers) - 1)
    noise = self._read(noise, x.dtype)
    run = self._runner(self._embed(noise, cond), train)
    skips = self._encode(self._with_low_res(x, cond), run)
    out = self._decode(
      self._middle(skips[-1], run), skips, run,
      self.out_channels or x.shape[-1])
    if self.scale_by_sigma:
      sigma = noise if self.sigma is None else self.sigma(noise)
      out = out / sigma[:, None, None, None].astype(out.dtype)
    return out

  @nn.nowrap
  def _with_low_res(self, x: Array, cond: Cond) -> Array:
    """The image and beside it the smaller one, bilinearly enlarged."""
    if not self.low_res:
      return x
    if 'low_res' not in (cond or {}):
      raise ValueError("UNet: enlarging needs an image: give cond['low_res']")
    small = cond['low_res'].astype(x.dtype)
    large = jax.image.resize(
      small, (*x.shape[:3], small.shape[-1]), 'bilinear', antialias=False)
    return jnp.concatenate([x, large], axis=-1)

  @nn.nowrap
  def _embed(self, noise: Array, cond: Cond) -> Array | None:
    """Equation (1): [B, E] in float32; None if it has no term."""
    code = self._code(noise, cond)
    terms = [] if code is None else [code]
    if self.num_classes:
      label = embeddings.Label(
        self.num_classes, self.embedding_width or 4 * self.channels,
        null_row=self.null_label, name='label')
      terms.append(label(cond, noise.shape[0]))
    return sum(terms) if terms else None

  @nn.nowrap
  def _decode(
    self, h: Array, skips: list[Array], run: unet_trunk.Run, channels: int
  ) -> Array:
    """Goes up, taking the outputs of the way down from the last."""
    skips, pyramid, image = list(skips), None, 0.0
    attention = self.attention_up or self.attention
    for level in reversed(range(len(self.multipliers))):
      for i in range(self.blocks_per_level + 1):
        h = jnp.concatenate([h, skips.pop()], axis=-1)
        h = run(self._part(self.block, level, f'up_{level}_block_{i}'), h)
        last = i == self.blocks_per_level
        if (h.shape[1] in self.attention_resolutions
            and (last or self.attention_every_up_block)):
          h = run(
            self._part(attention, level, f'up_{level}_attention_{i}'), h)
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
    """Equation (2) of residuals: the pyramid and the features of a level."""
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
