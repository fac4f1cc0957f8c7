"""What turns noise levels, positions and labels into vectors.

A sinusoidal code of width F = 2h of a number t is the pair of halves

  sin(t w_k), cos(t w_k),   w_k = b^(-k / h) or b^(-k / (h - 1)),        (1)

k = 0 ... h - 1, b = 10^4. The divisor h - 1 (`endpoint`) with the sine first
is that of DDPM and score SDE, h with the cosine first that of DiT and ADM.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax.networks import layers
from difjax.typing import Array, Cond


def _frequencies(
  count: int, *, endpoint: bool, base: float = 1e4
) -> np.ndarray:
  """The w_k of (1), in float64 on the host."""
  return base ** (-np.arange(count) / (count - endpoint))


class Positional(nn.Module):
  """The sinusoidal code (1) of a noise level."""

  width: int
  cos_first: bool = False
  endpoint: bool = True

  def __call__(self, t: Array) -> Array:
    """Encodes t [B] as [B, width] in float32.

    Raises:
      ValueError: when the width is odd or below 4.
    """
    if self.width % 2 or self.width < 4:
      raise ValueError(
        f'Positional: width {self.width} has no two halves; '
        'choose an even width of at least 4')
    w = _frequencies(self.width // 2, endpoint=self.endpoint)
    t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
    phase = t[:, None] * w.astype(t.dtype)
    halves = (jnp.sin(phase), jnp.cos(phase))
    return jnp.concatenate(halves[::-1] if self.cos_first else halves, -1)


class NoiseMLP(nn.Module):
  """Two dense layers with SiLU between them, in float32."""

  width: int
  kernel_init: layers.Initialiser = layers.fan_average()

  @nn.compact
  def __call__(self, code: Array) -> Array:
    """Maps [B, F] to [B, width]."""
    h = nn.Dense(self.width, kernel_init=self.kernel_init, name='hidden')(code)
    return nn.Dense(
      self.width, kernel_init=self.kernel_init, name='out')(nn.silu(h))


class Label(nn.Module):
  """A table of `num_classes` + 1 rows, of which the last means no label."""

  num_classes: int
  width: int
  table_init: Callable[..., Array] = nn.initializers.normal(0.02)

  @nn.compact
  def __call__(self, cond: Cond, batch: int) -> Array:
    """Looks `cond['label']` [B] up; gives [B, width] in float32.

    An absent `cond`, an absent key and label -1 all give the null row. A label
    above `num_classes` gives NaN, for a traced value cannot raise.
    """
    null = jnp.full((batch,), -1)
    label = (cond or {}).get('label', null)
    table = nn.Embed(
      self.num_classes + 1, self.width, embedding_init=self.table_init,
      name='table')
    return table(jnp.where(label < 0, self.num_classes, label))


def position_table(grid: tuple[int, ...], width: int) -> np.ndarray:
  """The fixed positions of DiT on a grid of any rank.

  Each axis owns width / rank channels that hold (1) of its coordinate, sine
  first, divisor h; the fastest axis comes first (columns before rows). Points
  are in row-major order.

  Returns:
    [prod(grid), width] in float32, computed in float64.

  Raises:
    ValueError: when 2 rank does not divide the width.
  """
  if width % (2 * len(grid)):
    raise ValueError(
      f'position table: width {width} does not split over {len(grid)} axes; '
      f'choose a width divisible by {2 * len(grid)}')
  w = _frequencies(width // (2 * len(grid)), endpoint=False)
  coordinates = np.meshgrid(*map(np.arange, grid), indexing='ij')
  phases = [np.outer(c.ravel(), w) for c in reversed(coordinates)]
  codes = [f(phase) for phase in phases for f in (np.sin, np.cos)]
  return np.concatenate(codes, -1).astype(np.float32)
