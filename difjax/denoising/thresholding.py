r"""Thresholding: predictions that stay in the range of images.

A guided x_0 can leave [-1, 1], which no image does. With b a bound,

  x_0' = b(x_0),   eps' = eps - (alpha / sigma) (x_0' - x_0),             (1)

the second so that x_t = alpha x_0' + sigma eps' still. Static, b clips to
[-1, 1], as DDPM and ADM do (`clip_denoised`); dynamic (Saharia et al. 2022,
Imagen, section 2.3), it makes room for each image first,

  s = max(quantile_p |x_0|, 1),   b(x_0) = clip(x_0, -s, s) / s.          (2)

Images in a latent space have no such range.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp

from difjax.denoising import guidance, prediction
from difjax.processes import base
from difjax.typing import Array

Bound = Callable[[Array], Array]
"""x_0 [B, ...] -> x_0' [B, ...]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """A range.

  Attributes:
    low: the least value.
    high: the greatest.
  """

  low: float = -1.0
  high: float = 1.0

  def __post_init__(self) -> None:
    if not self.low < self.high:
      raise ValueError(f'low must be below high: {self.low}, {self.high}')

  def __call__(self, x0: Array) -> Array:
    """Returns x_0 [B, ...] in the range."""
    return jnp.clip(x0, self.low, self.high)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dynamic:
  """A range of each image, brought to [-1, 1] (2).

  Attributes:
    quantile: p.
    least: lower bound of s, above 0.
    most: upper bound of s.
  """

  quantile: float = 0.995
  least: float = 1.0
  most: float = math.inf

  def __post_init__(self) -> None:
    if not 0 <= self.quantile <= 1:
      raise ValueError(f'quantile must be in [0, 1]: {self.quantile}')
    if not 0 < self.least <= self.most:
      raise ValueError(
        f'least must be above 0 and at most most: {self.least}, {self.most}')

  def __call__(self, x0: Array) -> Array:
    """Returns b(x_0) [B, ...]."""
    sizes = jnp.abs(x0).reshape(x0.shape[0], -1)
    s = jnp.quantile(sizes, self.quantile, axis=1)
    s = base.expand(jnp.clip(s, self.least, self.most), x0)
    return jnp.clip(x0, -s, s) / s


def thresholded(
  denoiser: prediction.Denoiser,
  process: base.Process,
  bound: Bound = Clip(),
  *,
  consistent: bool = True,
) -> prediction.Denoiser:
  """Keeps x_0 in bounds (1).

  Args:
    denoiser: what is kept.
    process: the process that x follows.
    bound: b.
    consistent: whether eps follows; else it stays, as in diffusers' DDIM, and
      as CFG++ wants it, whose eps is no function of x_0.
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    pair = denoiser(x, t)
    x0 = bound(pair.x0)
    if consistent:
      pair = guidance.shifted(pair, process, t, x0 - pair.x0)
    return pair._replace(x0=x0)

  return denoise
