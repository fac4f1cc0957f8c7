r"""EDM's augmentation: images are warped, and the network is told how.

Eight draws a_0 ... a_7 move what is at p from the centre c of an image to

  c + A (p - c) + b,   A = N R S F,                                       (1)

| part          | matrix                     | draws                    | label            |
|---------------|----------------------------|--------------------------|------------------|
| F: mirrored   | diag(1 - 2 a_0, 1 - 2 a_1) | a_0, a_1 in {0, 1}       | a_0, a_1         |
| S: scaled     | 2^(0.2 a_2)                | a_2 normal               | a_2              |
| R: rotated    | by a_3                     | a_3 in [-pi, pi]         | cos a_3 - 1, sin a_3 |
| N: stretched  | 2^(0.2 a_5) along a_4, its inverse across | a_4 in [-pi, pi], a_5 normal | a_5 cos a_4, a_5 sin a_4 |
| b: moved      | the size of the image / 8  | a_6, a_7 normal          | a_6, a_7         |

a_0 is drawn for every image, each other row (and a_1) with a probability; else
its draws are 0, as all are at probability 0. The network's condition holds the
nine labels, in this order, so it learns what was done and nothing leaks: at the
vector of zeros it models the images as they are (Karras et al. 2022, appendix
F.2 and table 6). As there, two draws share the label of a stretching: it along
an axis, and its inverse.

An image goes on beyond its edges by reflection. It is resampled at twice the
resolution: up by the synthesis filter of a wavelet, warped bilinearly, down by
the analysis filter. The two undo each other, hence images that are moved by
whole pixels, mirrored or turned by a right angle are exact. The wavelet is
Cohen, Daubechies and Feauveau's 9/7, which is symmetric, in place of the sym6
of Karras et al. 2020 (2006.06676, appendix B), which is nearly so.
"""  # noqa: E501, a table

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from difjax.typing import Array, Batch, Key

LABELS = 9
# The halves of the symmetric filters from the middle; sums of 1 and 2.
_DOWN = (0.6029490182363579, 0.2668641184428723, -0.07822326652898785,
         -0.01686411844287495, 0.02674875741080976)  # fmt: skip
_UP = (1.115087052456994, 0.5912717631142470, -0.05754352622849957,
       -0.09127176311424948)  # fmt: skip
_REACH = len(_DOWN) - 1
_EXACT = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
  """A random warp of every image, and nine labels that say which.

  Attributes:
    probability: of every part but the mirror image; at 0 nothing is done.
    mirror: half of the images are mirrored left and right.
    scale: logarithm to base 2 of the scale at a_2 = 1.
    stretch: likewise of the stretching.
    shift: the way at a_6 = 1 over the width of the image.
  """

  probability: float = 0.12
  mirror: bool = True
  scale: float = 0.2
  stretch: float = 0.2
  shift: float = 0.125

  def __post_init__(self) -> None:
    if not 0 <= self.probability <= 1:
      raise ValueError(
        f'Augmentation: probability must be a rate, not {self.probability}')

  def __call__(self, batch: Batch, key: Key) -> Batch:
    """Warps the images of a batch and adds its labels.

    Args:
      batch: 'image' [B, H, W, C] in [-1, 1], and other things.
      key: of the batch; each image has its own by its row.

    Returns:
      The batch with 'augment' [B, 9].
    """
    image = batch['image']
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
      key, jnp.arange(image.shape[0]))
    draws = jax.vmap(self.draw)(keys)
    image = jax.vmap(self.warped)(image, draws)
    return {**batch, 'image': image, 'augment': labels(draws)}

  def draw(self, key: Key) -> Array:
    """Draws a_0 ... a_7 [8]."""
    on, mirror, angles, normals = jax.random.split(key, 4)
    mirrored = jax.random.bernoulli(mirror, 0.5, (2,))
    angle = jax.random.uniform(
      angles, (2,), minval=-np.pi, maxval=np.pi)
    normal = jax.random.normal(normals, (4,))
    parts = jax.random.bernoulli(on, self.probability, (5,))
    flip, scale, rotate, stretch, move = parts.astype(normal.dtype)
    return jnp.stack([
      mirrored[0] * float(self.mirror and self.probability > 0),
      mirrored[1] * flip, normal[0] * scale,
      angle[0] * rotate, angle[1] * stretch, normal[1] * stretch,
      normal[2] * move, normal[3] * move])

  def warped(self, image: Array, draws: Array) -> Array:
    """Warps an image [H, W, C] by the draws [8] (1)."""
    for axis, mirrored in ((1, draws[0]), (0, draws[1])):
      image = jnp.where(mirrored > 0, jnp.flip(image, axis), image)
    size = jnp.asarray(image.shape[1::-1], draws.dtype)  # of x and y
    moved = warp(image, self.matrix(draws), self.shift * size * draws[6:])
    return jnp.where(jnp.any(draws[2:] != 0), moved, image)

  def matrix(self, draws: Array) -> Array:
    """Returns N R S [2, 2] of coordinates (x, y)."""
    along = _rotation(draws[4])
    factor = 2 ** (self.stretch * draws[5])
    stretched = along @ jnp.diag(jnp.stack([factor, 1 / factor])) @ along.T
    return 2 ** (self.scale * draws[2]) * stretched @ _rotation(draws[3])


def labels(draws: Array) -> Array:
  """Returns the labels [..., 9] of draws [..., 8]."""
  a = jnp.moveaxis(draws, -1, 0)
  return jnp.stack([
    a[0], a[1], a[2], jnp.cos(a[3]) - 1, jnp.sin(a[3]),
    a[5] * jnp.cos(a[4]), a[5] * jnp.sin(a[4]), a[6], a[7]], -1)


def warp(image: Array, matrix: Array, shift: Array) -> Array:
  """Moves what is at p from the centre of an image to A p + b.

  Args:
    image: [H, W, C].
    matrix: A [2, 2], invertible, of coordinates (x, y), y downwards.
    shift: b [2] in pixels.
  """
  height, width, _ = image.shape
  fine = jnp.einsum(
    'uh,vw,hwc->cuv', _up(height), _up(width), image, precision=_EXACT)
  centre = jnp.asarray([width - 1, height - 1], matrix.dtype)
  x, y = (
    jnp.arange(-_REACH, 2 * n - 1 + _REACH) - c
    for n, c in zip((width, height), centre, strict=True))
  (a, b), (c, d) = matrix
  x, y = x - 2 * shift[0], (y - 2 * shift[1])[:, None]
  determinant = a * d - b * c
  places = (
    (a * y - c * x) / determinant + centre[1],
    (d * x - b * y) / determinant + centre[0])
  sampled = jax.vmap(lambda channel: jax.scipy.ndimage.map_coordinates(
    channel, places, order=1, mode='mirror'))(fine)
  return jnp.einsum(
    'hu,wv,cuv->hwc', _down(height), _down(width), sampled, precision=_EXACT)


def _rotation(angle: Array) -> Array:
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])


@functools.lru_cache(maxsize=32)
def _up(size: int) -> np.ndarray:
  """The matrix [2 size - 1, size] that doubles a reflected signal."""
  found = np.zeros((2 * size - 1, size), np.float32)
  last = size - 1
  for fine in range(2 * size - 1):
    for place in range(-_REACH, size + _REACH):
      if abs(fine - 2 * place) < len(_UP):
        inside = last - abs(last - abs(place) % (2 * last))
        found[fine, inside] += _UP[abs(fine - 2 * place)]
  return found


@functools.lru_cache(maxsize=32)
def _down(size: int) -> np.ndarray:
  """The matrix [size, 2 size - 1 + 2 reach] that halves a signal."""
  found = np.zeros((size, 2 * size - 1 + 2 * _REACH), np.float32)
  for place in range(size):
    for tap in range(-_REACH, _REACH + 1):
      found[place, 2 * place + tap + _REACH] = _DOWN[abs(tap)]
  return found
