"""What turns noise levels, positions and labels into vectors.

A sinusoidal code of width F = 2h of a number t is the pair of halves

  sin(t w_k), cos(t w_k),   w_k = b^(-k / h) or b^(-k / (h - 1)),        (1)

k = 0 ... h - 1, b = 10^4. The divisor h - 1 (`endpoint`) with the sine first
is that of DDPM and score SDE, h with the cosine first that of DiT and ADM.
The Gaussian Fourier code of a noise level n draws its frequencies once,

  sin(2 pi w_k log n), cos(2 pi w_k log n),   w_k ~ N(0, s^2).            (2)

Networks of noise ladders read the index j of a level, the highest first:

  sigma_j = sigma_max (sigma_min / sigma_max)^(j / (N - 1)).              (3)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
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


class Fourier(nn.Module):
  """The Gaussian Fourier code (2); its frequencies are not trained.

  They are a parameter all the same, so that checkpoints carry them.

  Attributes:
    width: number of frequencies, half the length of the code.
    scale: s, their standard deviation.
    log: the noise level is taken to its logarithm; else it is one already.
  """

  width: int
  scale: float = 16.0
  log: bool = True

  @nn.compact
  def __call__(self, noise: Array) -> Array:
    """Encodes noise [B], positive or a logarithm, as [B, 2 width].

    The code is in at least float32.
    """
    w = self.param('W', nn.initializers.normal(self.scale), (self.width,))
    noise = noise.astype(jnp.promote_types(noise.dtype, jnp.float32))
    w = jax.lax.stop_gradient(w).astype(noise.dtype)
    level = jnp.log(noise) if self.log else noise
    phase = 2 * np.pi * level[:, None] * w
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmaOfIndex:
  """The noise level of an index of a descending ladder (3).

  Attributes:
    sigma_min: the last level, in the units of the network's data.
    sigma_max: the first level.
    levels: N.
    truncate: read the whole part of the index, as the official code does; else
      levels between two are geometric too.
  """

  sigma_min: float
  sigma_max: float
  levels: int
  truncate: bool = False

  def __call__(self, index: Array) -> Array:
    """Maps indices of any shape to levels."""
    ends = np.log([self.sigma_max, self.sigma_min])
    table = np.exp(np.linspace(*ends, self.levels))
    index = jnp.clip(index, 0, self.levels - 1)
    whole = jnp.floor(index)
    sigma = jnp.asarray(table, index.dtype)[whole.astype(jnp.int32)]
    rate = (ends[1] - ends[0]) / (self.levels - 1)
    between = jnp.exp((index - whole) * rate)
    return sigma if self.truncate else sigma * between


class NoiseMLP(nn.Module):
  """Two dense layers with an activation between them, in float32."""

  width: int
  kernel_init: layers.Initialiser = layers.fan_average()
  activation: Callable[[Array], Array] = nn.silu

  @nn.compact
  def __call__(self, code: Array) -> Array:
    """Maps [B, F] to [B, width]."""
    h = nn.Dense(self.width, kernel_init=self.kernel_init, name='hidden')(code)
    return nn.Dense(
      self.width, kernel_init=self.kernel_init, name='out')(
        self.activation(h))


class Label(nn.Module):
  """A table of `num_classes` + 1 rows, of which the last means no label.

  Without `null_row` there is no such row: no label is a vector of zeros.
  """

  num_classes: int
  width: int
  table_init: Callable[..., Array] = nn.initializers.normal(0.02)
  null_row: bool = True

  @nn.compact
  def __call__(self, cond: Cond, batch: int) -> Array:
    """Looks `cond['label']` [B] up; gives [B, width] in float32.

    An absent `cond`, an absent key and label -1 all give the null row. A label
    above `num_classes` gives NaN, for a traced value cannot raise. Without the
    null row, labels may be weights of the rows [B, num_classes] instead.
    """
    null = jnp.full((batch,), -1)
    label = (cond or {}).get('label', null)
    table = nn.Embed(
      self.num_classes + self.null_row, self.width,
      embedding_init=self.table_init, name='table')
    if self.null_row:
      return table(jnp.where(label < 0, self.num_classes, label))
    if label.ndim == 2:
      return label @ table.embedding
    row = table(jnp.maximum(label, 0))
    return jnp.where(label[:, None] < 0, jnp.zeros((), row.dtype), row)


class VectorCondition(nn.Module):
  """Linear maps of vectors in the condition, which join a noise level's code.

  A label l of K classes is the vector sqrt(K) onehot(l), or any weights of the
  classes times sqrt(K); no label is the vector of zeros. Source: Karras et al.
  2022, their network for CIFAR-10; vectors without bias of how an image was
  augmented are those of appendix F.2.

  Attributes:
    width: of the code.
    num_classes: K; 0 for a network without labels here.
    augment_dim: numbers of `cond['augment']`; 0 for a network without.
  """

  width: int
  num_classes: int = 0
  augment_dim: int = 0

  @nn.compact
  def __call__(self, cond: Cond, code: Array) -> Array:
    """Sums what `cond` holds: [B, width] in the dtype of `code` [B, width].

    `cond['label']` is int [B], -1 for none, or weights [B, K];
    `cond['augment']` is [B, augment_dim]. What is absent is zero. A label above
    K gives NaN.
    """
    cond, dtype = cond or {}, code.dtype
    total = jnp.zeros_like(code)
    if self.num_classes:
      label = cond.get('label', jnp.full(code.shape[:1], -1))
      vector = math.sqrt(self.num_classes) * class_weights(
        label, self.num_classes, dtype)
      total += nn.Dense(
        self.width, kernel_init=layers.fan_average(), dtype=dtype,
        name='label')(vector)
    if self.augment_dim:
      none = jnp.zeros((code.shape[0], self.augment_dim), dtype)
      total += nn.Dense(
        self.width, use_bias=False, kernel_init=layers.fan_average(),
        dtype=dtype, name='augment')(cond.get('augment', none))
    return total


def class_weights(
  label: Array, num_classes: int, dtype: jax.typing.DTypeLike
) -> Array:
  """Weights of the classes [B, K] of labels: int [B], or weights already.

  A label of -1 has no weight anywhere; one of K or more gives NaN, for a traced
  value cannot raise.
  """
  if label.ndim == 2:
    return label.astype(dtype)
  vector = jax.nn.one_hot(label, num_classes, dtype=dtype)
  return jnp.where(label[:, None] < num_classes, vector, jnp.nan)


def position_table(grid: tuple[int, ...], width: int) -> np.ndarray:
  """The fixed positions of DiT on a grid of any rank.

  Each axis owns width / rank channels that hold (1) of its coordinate, sine
  first, divisor h; the fastest axis comes first (columns before rows). Points
  are in row-major order. Channels that do not split evenly are zeros, at the
  end: 4 of the 1024 of DiT-L on videos.

  Returns:
    [prod(grid), width] in float32, computed in float64.

  Raises:
    ValueError: when there are fewer than 2 channels for an axis.
  """
  count, rest = divmod(width, 2 * len(grid))
  if not count:
    raise ValueError(
      f'position table: width {width} does not split over {len(grid)} axes; '
      f'choose one of at least {2 * len(grid)}')
  w = _frequencies(count, endpoint=False)
  coordinates = np.meshgrid(*map(np.arange, grid), indexing='ij')
  phases = [np.outer(c.ravel(), w) for c in reversed(coordinates)]
  codes = [f(phase) for phase in phases for f in (np.sin, np.cos)]
  table = np.concatenate(codes, -1).astype(np.float32)
  return np.pad(table, ((0, 0), (0, rest)))
