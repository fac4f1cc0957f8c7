"""How images come to a feature network: the conventions that move an FID.

A separable resize is a matrix a side, y = R_h x R_w^T, and codes differ in how
they place an output pixel i in the input, whose pixels lie at 0, 1, ...: with
r = in / out

  TF1 bilinear      r i,                      neighbours by distance;     (1)
  torch bilinear    max(0, r (i + 1/2) - 1/2),  likewise;                  (2)
  Pillow bicubic    r (i + 1/2) - 1/2, Keys' cubic of a = -1/2 at distances
                    over max(1, r), of sum 1 within the image.            (3)

(1) and (2) skip pixels when they make an image smaller; (3) does not. What the
network reads is then (y - zero) / unit, y in the units of uint8 and not
rounded, except where Pillow resized bytes: then to bytes after each side, along
rows first (Pillow 13 begins with the side that shrinks more, if any). Figures
of different conventions are not to be compared: at 32 x 32 they are 10 to 17 %
apart (Parmar et al., 2104.11222).
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np

from difjax.typing import Array


def corner_bilinear(size: int, new: int) -> np.ndarray:
  """Returns the matrix [new, size] of equation (1)."""
  return _bilinear(np.arange(new) * (size / new), size)


def centre_bilinear(size: int, new: int) -> np.ndarray:
  """Returns the matrix [new, size] of equation (2)."""
  return _bilinear((np.arange(new) + 0.5) * (size / new) - 0.5, size)


def antialiased_bicubic(size: int, new: int) -> np.ndarray:
  """Returns the matrix [new, size] of equation (3)."""
  ratio = size / new
  places = (np.arange(new) + 0.5) * ratio - 0.5
  gap = places[:, None] - np.arange(size)
  weights = _keys(np.abs(gap) / max(1.0, ratio))
  return weights / weights.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
  """A resize and a range of values, as one code has them.

  Attributes:
    matrix: of (pixels, new pixels), the resize along a side.
    zero: values of uint8 that the network reads as 0, one or one a channel.
    unit: values of uint8 to 1 of what it reads, likewise.
    rounded: whether pixels are bytes after each side.
    clipped: whether they are in the range of bytes at the end, as a cubic that
      overshoots leaves it.
  """

  matrix: Callable[[int, int], np.ndarray]
  zero: tuple[float, ...]
  unit: tuple[float, ...]
  rounded: bool = False
  clipped: bool = False

  def __call__(
    self, images: Array, size: tuple[int, int],
    dtype: jax.typing.DTypeLike = jnp.float32,
  ) -> Array:
    """Maps images [B, H, W, C], values of uint8, to [B, *size, C]."""
    rows, columns = (
      self.matrix(old, new).astype(dtype)
      for old, new in zip(images.shape[1:3], size, strict=True))
    highest = jax.lax.Precision.HIGHEST
    x = jnp.asarray(images, dtype)
    kept = _bytes if self.rounded else lambda x: x
    x = kept(jnp.einsum('bhwc,vw->bhvc', x, columns, precision=highest))
    x = kept(jnp.einsum('bhvc,uh->buvc', x, rows, precision=highest))
    x = jnp.clip(x, 0, 255) if self.clipped else x
    return (x - np.array(self.zero, dtype)) / np.array(self.unit, dtype)


PYTORCH_FID = Convention(matrix=centre_bilinear, zero=(127.5,), unit=(127.5,))
TENSORFLOW = Convention(matrix=corner_bilinear, zero=(128.0,), unit=(128.0,))
SCORE_SDE = Convention(matrix=corner_bilinear, zero=(127.5,), unit=(127.5,))
CLEAN_FID = Convention(
  matrix=antialiased_bicubic, zero=(128.0,), unit=(128.0,), clipped=True)
# By the code that has them; ADM, EDM and torch-fidelity have TensorFlow's.
CONVENTIONS: Final = types.MappingProxyType({
  'clean-fid': CLEAN_FID, 'pytorch-fid': PYTORCH_FID, 'score-sde': SCORE_SDE,
  'tensorflow': TENSORFLOW,
})


def _bytes(x: Array) -> Array:
  """Rounds to whole values of uint8, halves up."""
  return jnp.clip(jnp.floor(x + 0.5), 0, 255)


def _bilinear(places: np.ndarray, size: int) -> np.ndarray:
  """Returns the matrix [len(places), size] of weights by distance."""
  places = np.clip(places, 0, size - 1)
  gap = np.abs(places[:, None] - np.arange(size))
  return np.maximum(0, 1 - gap)


def _keys(x: np.ndarray) -> np.ndarray:
  """Returns the cubic of Keys (1981) of a = -1/2 at distances x >= 0."""
  near = 1 + x**2 * (1.5 * x - 2.5)
  far = 2 + x * (-4 + x * (2.5 - 0.5 * x))
  return np.where(x < 1, near, np.where(x < 2, far, 0.0))
