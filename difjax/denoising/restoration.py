r"""Restoration: samples that agree with a linear measurement.

Of an image x_0 one knows y = A x_0 + s n, n ~ N(0, I): some of its pixels, its
grey values, a small version of it. If p(x_0 | x_t) has mean x_0 and covariance
C, the mean under y as well is the Gaussian's update,

  x_0' = x_0 + C A^T (A C A^T + s^2 I)^-1 (y - A x_0),                    (1)

and a denoiser that returns it serves every solver and every process. Two
choices of C:

  C = (sigma^2 / alpha) d x_0 / d x_t,                                    (2)
  C = I, s = 0:   x_0' = x_0 + A^+ (y - A x_0).                           (3)

(2) is Tweedie's second-order formula, the covariance that the denoiser itself
implies: moment matching (Rozet et al. 2024, section 3; Boys et al. 2023). It is
exact for Gaussian data. For other data the one approximation is that
p(x_0 | x_t) is taken as Gaussian, which is true at low noise and, where data
have modes far apart, wrong at high noise: the shares of the modes come out
between those of p(x_0) and those of p(x_0 | y). A network's Jacobian is only
roughly a covariance, so that few iterations and a bound serve images better
than an exact solution.

(3) puts y in place of what is measured and leaves the rest to the denoiser. The
measured part then moves as x_t given y does, alpha y + sigma eps at every time,
if it starts so (`start`): this is the replacement of Song et al. 2021
(appendix I.2), with measured parts that are noised as the marginal says, and a
last denoising that is of the whole image. Since the rest sees only the noisy y
of its own time, samples have a bias that does not vanish with more steps.

Going back and forth in time (`sampling.Resampled`) lowers the bias of either,
to nothing as steps and visits grow, for both are exact at low noise.

The system in (1) is solved for each image by itself, by conjugate gradients;
(2) costs a vector-Jacobian product of the network an iteration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from difjax.denoising import guidance, prediction
from difjax.processes import base
from difjax.typing import Array, Shape

_PROJECTING = 16  # iterations at most; one does for all operators named here
Map = Callable[[Array], Array]


class Operator:
  """A linear measurement A of images, each by itself."""

  def measure(self, x: Array) -> Array:
    """Returns A x [B, ...] of images [B, H, W, C]."""
    raise NotImplementedError

  def fits(self, shape: Shape) -> bool:
    """Says whether images (H, W, C) can be measured, and something is lost."""
    del shape
    return True


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Mask(Operator):
  """Inpainting: some of the numbers are known, the rest is read as zero.

  Attributes:
    known: 1 where known and 0 elsewhere, to broadcast over [H, W, C].
  """

  known: Array

  def measure(self, x: Array) -> Array:
    """Returns what is known [B, H, W, C]."""
    return jnp.asarray(self.known, x.dtype) * x


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(Operator):
  """Inpainting of a rectangle, whose sides are fractions of the image.

  Attributes:
    top: where the hidden part begins, from above.
    bottom: where it ends.
    left: where it begins, from the left.
    right: where it ends.
  """

  top: float = 0.25
  bottom: float = 0.75
  left: float = 0.25
  right: float = 0.75

  def measure(self, x: Array) -> Array:
    """Returns the images [B, H, W, C] with zeros in the rectangle."""
    return x.at[:, *self._hidden(x.shape[1:])].set(0)

  def fits(self, shape: Shape) -> bool:
    """Says whether some of an image is hidden, and not all."""
    rows, columns = self._hidden(shape)
    count = len(range(shape[0])[rows]) * len(range(shape[1])[columns])
    return 0 < count < shape[0] * shape[1]

  def _hidden(self, shape: Shape) -> tuple[slice, slice]:
    high, wide = shape[:2]
    rows = slice(round(self.top * high), round(self.bottom * high))
    columns = slice(round(self.left * wide), round(self.right * wide))
    return rows, columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grey(Operator):
  """Colourisation: the mean of the channels is known.

  Up to a factor this is the first axis of the rotation of colours in Song et
  al. 2021, and the other axes are what is unknown.
  """

  def measure(self, x: Array) -> Array:
    """Returns grey images [B, H, W, 1]."""
    return jnp.mean(x, axis=-1, keepdims=True)

  def fits(self, shape: Shape) -> bool:
    """Says whether there are several channels."""
    return shape[-1] > 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePool(Operator):
  """Super-resolution: the means of square patches are known.

  Attributes:
    factor: side of a patch, a divisor of the image's sides.
  """

  factor: int = 2

  def measure(self, x: Array) -> Array:
    """Returns small images [B, H / factor, W / factor, C]."""
    b, h, w, c = x.shape
    f = self.factor
    return x.reshape(b, h // f, f, w // f, f, c).mean(axis=(2, 4))

  def fits(self, shape: Shape) -> bool:
    """Says whether the patches fill the image."""
    return self.factor > 1 and not any(side % self.factor for side in shape[:2])


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearOperator(Operator):
  """Any linear function of images.

  Attributes:
    function: [B, ...] to [B, ...], linear, each image by itself.
  """

  function: Map

  def measure(self, x: Array) -> Array:
    """Returns the function's value."""
    return self.function(x)


def moment_matched(
  denoiser: prediction.Denoiser,
  process: base.Process,
  operator: Operator,
  y: Array,
  *,
  std: float = 0.0,
  iterations: int = 2,
  bound: float | None = None,
) -> prediction.Denoiser:
  """Returns the denoiser given a measurement, by moment matching (1, 2).

  Args:
    denoiser: without the measurement; differentiable.
    process: the process that x follows.
    operator: A.
    y: the measurement, [B, ...] or [1, ...] for all images alike.
    std: s. At 0 the result is put onto A x_0 = y, where exact ones lie.
    iterations: of conjugate gradients; as many as y has numbers are exact.
    bound: where data end, 1 for images: x_0 is kept within.
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    def linearised(x: Array) -> tuple[Array, prediction.Prediction]:
      pair = denoiser(x, t)
      return pair.x0, pair

    x0, product, pair = jax.vjp(linearised, x, has_aux=True)
    factor = base.expand(process.sigma(t) ** 2 / process.alpha(t), x)
    covariance = lambda v: factor.astype(x.dtype) * product(v)[0]
    change = _update(operator, covariance, y, x0, std**2, iterations)
    if bound is not None:
      change = jnp.clip(x0 + change, -bound, bound) - x0
    if not std:
      change += _update(operator, _same, y, x0 + change, 0.0, _PROJECTING)
    return guidance.shifted(pair, process, t, change)

  return denoise


def projected(
  denoiser: prediction.Denoiser,
  process: base.Process,
  operator: Operator,
  y: Array,
) -> prediction.Denoiser:
  """Returns the denoiser whose x_0 has y in place of its own A x_0 (3).

  Args:
    denoiser: without the measurement.
    process: the process that x follows.
    operator: A.
    y: the measurement without noise, [B, ...] or [1, ...].
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    pair = denoiser(x, t)
    change = _update(operator, _same, y, pair.x0, 0.0, _PROJECTING)
    return guidance.shifted(pair, process, t, change)

  return denoise


def pseudo_inverse(operator: Operator, y: Array, like: Array) -> Array:
  """Returns A^+ y, the smallest x [B, ...] in the shape of `like` of A x = y.

  The smallest x is y itself with zeros for hidden pixels, a grey image, or a
  small one in large squares: a picture of the measurement.
  """
  zero = jnp.zeros(like.shape, like.dtype)
  return _update(operator, _same, y, zero, 0.0, _PROJECTING)


def start(
  process: base.Process, operator: Operator, y: Array, like: Array
) -> Array:
  """Returns the mean of x [B, ...] at t_max given y, to add to the prior.

  It is alpha(t_max) A^+ y: what is measured is noised as at any other time.
  """
  return process.alpha(process.t_max) * pseudo_inverse(operator, y, like)


def _same(x: Array) -> Array:
  return x


def _update(
  operator: Operator,
  covariance: Map,
  y: Array,
  x0: Array,
  variance: float,
  iterations: int,
) -> Array:
  """Returns x_0' - x_0 [B, ...] of (1)."""
  transpose = jax.linear_transpose(operator.measure, x0)
  spread = lambda v: covariance(transpose(v)[0])
  system = lambda v: operator.measure(spread(v)) + variance * v
  missing = jnp.asarray(y, x0.dtype) - operator.measure(x0)
  return spread(_conjugate_gradients(system, missing, iterations))


def _conjugate_gradients(system: Map, b: Array, iterations: int) -> Array:
  """Solves a positive system for each image [B, ...] by itself.

  An image stops where it is solved to rounding, or where the system proves not
  to be positive, as that of a network may.
  """
  dot = lambda u, v: base.expand(
    jnp.sum(u * v, axis=tuple(range(1, b.ndim))), b
  )
  enough = jnp.finfo(b.dtype).eps ** 2 * dot(b, b)

  def improve(_: int, now: tuple[Array, ...]) -> tuple[Array, ...]:
    x, r, p, rr = now
    image = system(p)
    curvature = dot(p, image)
    going = (rr > enough) & (curvature > 0)
    step = jnp.where(going, rr / jnp.where(going, curvature, 1), 0)
    x, rest = x + step * p, r - step * image
    left = dot(rest, rest)
    turned = rest + left / jnp.where(going, rr, 1) * p
    return x, rest, jnp.where(going, turned, p), jnp.where(going, left, rr)

  first = (jnp.zeros_like(b), b, b, dot(b, b))
  return jax.lax.fori_loop(0, iterations, improve, first)[0]
