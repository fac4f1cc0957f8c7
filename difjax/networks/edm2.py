r"""EDM2's magnitude-preserving U-Net (Karras et al. 2024, configuration G).

The ladder of levels of `unet`, of the layers of `edm2_layers`: no biases, no
norms with parameters, no data-dependent gains. A channel of ones beside the
image stands for all biases. Of a noise level n and a label l of K,

  e = silu(sum(Linear(code(n)), Linear(sqrt K onehot(l)))),               (1)

an absent label being onehot = 0; a network without labels has the first term
alone. On every level the way down has `blocks_per_level` blocks, the way up one
more, each of which joins the features with those of the way down; between the
two are a block with attention and one without. The output is a convolution
under a gain that starts at zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from difjax.networks import (
  attention,
  edm2_layers,
  embeddings,
  layers,
  resample,
)
from difjax.typing import Array, Cond

Run = Callable[[nn.Module, Array], Array]


class MPUNet(nn.Module):
  """The network; the defaults are EDM2-S for 64 x 64 pixels, without labels.

  Attributes:
    channels: that the multipliers are of.
    multipliers: channels of each level over `channels`.
    noise_multiplier: width of the noise code over `channels`; None for that of
      the first level.
    embedding_multiplier: width of e over `channels`; None for that of the
      widest level.
    blocks_per_level: on the way down; one more on the way up.
    attention_resolutions: heights at which attention follows a block.
    channels_per_head: of the attention, at the least: there are as many heads
      as fit, and where none does there is no attention.
    out_channels: channels of the output; None for those of the input.
    num_classes: K; 0 for a network without labels.
    label_balance: share of the label in (1).
    concat_balance: share of what comes from the way down.
    residual_balance: share of a block's branch.
    attention_balance: share of a block's attention.
    dropout: rate inside blocks.
    clip: bound on the size of activations; None for none.
    kernel: taps of the filter that doubles; the one that halves has them
      backwards.
    remat: recompute every block in the backward pass.
    implementation: of the attention: None, 'xla' or 'cudnn'.
    dtype: compute dtype; None for that of x.
  """

  channels: int = 192
  multipliers: tuple[int, ...] = (1, 2, 3, 4)
  noise_multiplier: int | None = None
  embedding_multiplier: int | None = None
  blocks_per_level: int = 3
  attention_resolutions: tuple[int, ...] = (16, 8)
  channels_per_head: int = 64
  out_channels: int | None = None
  num_classes: int = 0
  label_balance: float = 0.5
  concat_balance: float = 0.5
  residual_balance: float = 0.3
  attention_balance: float = 0.3
  dropout: float = 0.0
  clip: float | None = 256.0
  kernel: tuple[float, ...] = (1, 1)
  remat: bool = False
  implementation: attention.Implementation = None
  dtype: jax.typing.DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Array, noise: Array, cond: Cond = None, *, train: bool = False
  ) -> Array:
    """Maps x [B, H, W, C] at noise [B] to [B, H, W, out_channels] in float32.

    Args:
      x: the scaled input; in float64 all is computed in float64.
      noise: the official time input, used raw: log(sigma) / 4.
      cond: 'label' int [B]; -1, no key or None is the null label. Labels may
        be weights of the classes [B, K] instead, zeros for none.
      train: dropout is on; needs the rng 'dropout'.

    Raises:
      ValueError: when the levels do not divide the size.
    """
    layers.check_halving(self, x.shape, len(self.multipliers) - 1)
    exact = jnp.promote_types(x.dtype, jnp.float32)
    emb = self._embed(noise.astype(exact), cond)
    image = x.astype(self.dtype or x.dtype)
    run = self._runner(emb.astype(image.dtype), train)
    ones = jnp.ones_like(image[..., :1])
    h = edm2_layers.MPConv(
      self.channels * self.multipliers[0], 3, name='stem')(
        jnp.concatenate([image, ones], -1))
    h = self._decode(self._encode(layers.constrain(h, 'batch'), run), run)
    gain = self.param('gain', nn.initializers.zeros, ())
    out = edm2_layers.MPConv(
      self.out_channels or x.shape[-1], 3, name='head')(h, gain)
    return out.astype(exact)

  @nn.nowrap
  def _embed(self, noise: Array, cond: Cond) -> Array:
    """Equation (1): [B, E] in the dtype of `noise`."""
    first, widest = self.multipliers[0], max(self.multipliers)
    code = edm2_layers.MPFourier(
      self.channels * (self.noise_multiplier or first), name='encoding')(noise)
    width = self.channels * (self.embedding_multiplier or widest)
    emb = edm2_layers.MPConv(width, name='time')(code)
    if self.num_classes:
      label = (cond or {}).get('label', jnp.full(noise.shape, -1))
      vector = math.sqrt(self.num_classes) * embeddings.class_weights(
        label, self.num_classes, noise.dtype)
      named = edm2_layers.MPConv(width, name='label')(vector)
      emb = edm2_layers.mp_sum(emb, named, self.label_balance)
    return edm2_layers.mp_silu(emb)

  @nn.nowrap
  def _runner(self, emb: Array, train: bool) -> Run:
    """What calls a block on features."""
    call = lambda block, h, emb: block(h, emb, train)
    if self.remat:
      call = nn.remat(call)
    return lambda block, h: call(block, h, emb)

  @nn.nowrap
  def _block(self, level: int, name: str, **fields: object) -> nn.Module:
    """Makes the block of that name on that level."""
    return edm2_layers.MPBlock(
      self.channels * self.multipliers[level],
      channels_per_head=self.channels_per_head, dropout=self.dropout,
      residual_balance=self.residual_balance,
      attention_balance=self.attention_balance, clip=self.clip,
      implementation=self.implementation, name=name, **fields)

  @nn.nowrap
  def _encode(self, h: Array, run: Run) -> list[Array]:
    """Goes down; gives every output on the way."""
    skips = [h]
    down = resample.FIRDown(kernel=self.kernel[::-1])
    for level in range(len(self.multipliers)):
      if level:
        block = self._block(
          level - 1, f'down_{level - 1}_resample', resampling=down)
        skips.append(run(block, skips[-1]))
      attend = skips[-1].shape[1] in self.attention_resolutions
      for i in range(self.blocks_per_level):
        block = self._block(level, f'down_{level}_block_{i}', attend=attend)
        skips.append(run(block, skips[-1]))
    return skips

  @nn.nowrap
  def _decode(self, skips: list[Array], run: Run) -> Array:
    """Goes up, taking the outputs of the way down from the last."""
    skips, level = list(skips), len(self.multipliers) - 1
    block = functools.partial(self._block, decoder=True)
    h = run(block(level, 'mid_block_0', attend=True), skips[-1])
    h = run(block(level, 'mid_block_1'), h)
    for level in reversed(range(len(self.multipliers))):
      attend = h.shape[1] in self.attention_resolutions
      for i in range(self.blocks_per_level + 1):
        h = edm2_layers.mp_join(h, skips.pop(), self.concat_balance)
        h = run(block(level, f'up_{level}_block_{i}', attend=attend), h)
      if level:
        up = resample.FIRUp(kernel=self.kernel)
        h = run(block(level, f'up_{level}_resample', resampling=up), h)
    return h
