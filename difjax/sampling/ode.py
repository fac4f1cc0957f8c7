r"""The probability-flow ODE with adaptive steps, on device.

  dx / dt = alpha' x_0(x, t) + sigma' eps(x, t),   t_max -> t_min,        (1)

integrated by the embedded 5(4) pair of Dormand & Prince 1980, as in Song et al.
2021, section 4.3. Of a step h with slopes k_0 .. k_6, k_0 that of the step
before,

  k_i = f(t + c_i h, y + h sum_j a_ij k_j),   y' = y + h sum_j a_6j k_j,  (2)
  r = rms(h sum_j e_j k_j / (atol + rtol max(|y|, |y'|))),                (3)

y' is taken if r < 1, and h grows or shrinks by 0.9 r^(-1/5) (Hairer, Norsett &
Wanner 1993, II.4; so does SciPy's RK45). Time, step and error are those of each
image by itself, so an image does not depend on the batch that it is in; the
network sees the whole batch at once, and is called until the slowest image is
done. `integrate` is the same for any field over images, such as (1) with its
divergence beside it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.typing import Array, PyTree

Field = Callable[[PyTree, Array, PyTree], PyTree]
"""(y, t [B], given) -> dy/dt, all of [B, ...] and one image by itself."""

_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)  # c_1 .. c_6 of (2)
_ROWS = (  # a_1 .. a_6 of (2)
  (1 / 5, 0, 0, 0, 0, 0, 0),
  (3 / 40, 9 / 40, 0, 0, 0, 0, 0),
  (44 / 45, -56 / 15, 32 / 9, 0, 0, 0, 0),
  (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729, 0, 0, 0),
  (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656, 0, 0),
  (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0),
)
_ERRORS = (  # e of (3)
  71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40,
)  # fmt: skip
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 10.0  # of the factors between steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveODE:
  """Samples by (1) to a tolerance.

  Attributes:
    rtol: relative tolerance of a step.
    atol: absolute tolerance of a step.
    max_steps: accepted and rejected steps at the most; an image that needs
      more comes out as NaN.
    denoise: end with the denoiser's x_0, one evaluation more.
  """

  rtol: float = 1e-5
  atol: float = 1e-5
  max_steps: int = 10_000
  denoise: bool = True

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took."""
    del noise
    x, evaluations = solve(
      denoiser, process, x, process.t_max, process.t_min,
      rtol=self.rtol, atol=self.atol, max_steps=self.max_steps,
    )  # fmt: skip
    if not self.denoise:
      return x, evaluations
    return denoiser(x, process.t_min).x0, evaluations + 1


def solve(
  denoiser: prediction.Denoiser,
  process: base.Process,
  x: Array,
  t: float,
  s: float,
  *,
  rtol: float = 1e-5,
  atol: float = 1e-5,
  max_steps: int = 10_000,
) -> tuple[Array, Array]:
  """Carries x from time t to time s, either way, along (1).

  Args:
    denoiser: (x [B, ...], t) -> Prediction.
    process: the process whose ODE is solved.
    x: [B, ...] at time t.
    t: start.
    s: end; above t it encodes data.
    rtol: relative tolerance of a step.
    atol: absolute tolerance of a step.
    max_steps: accepted and rejected steps at the most.

  Returns:
    x [B, ...] at s, NaN where the steps did not do, and evaluations [B].
  """

  def velocity(x: Array, t: Array, given: PyTree) -> Array:
    del given
    return prediction.velocity(denoiser(x, t), process, t)

  return integrate(
    velocity, x, t, s, rtol=rtol, atol=atol, max_steps=max_steps
  )


class _Walk(NamedTuple):
  """Where the images are.

  Attributes:
    y: arrays [B, ...].
    slope: dy/dt there.
    t: [B].
    h: [B], the next step.
    again: [B], whether that step is the second try.
    attempts: [B], steps taken and rejected.
    going: [B], whether there is a way to go.
  """

  y: PyTree
  slope: PyTree
  t: Array
  h: Array
  again: Array
  attempts: Array
  going: Array


def integrate(
  field: Field,
  y: PyTree,
  t: float,
  s: float,
  *,
  given: PyTree = None,
  rtol: float = 1e-5,
  atol: float = 1e-5,
  max_steps: int = 10_000,
) -> tuple[PyTree, Array]:
  """Carries a batch of states from time t to time s, each in its own steps.

  Args:
    field: what is integrated.
    y: arrays [B, ...] of one dtype at time t; a step is good when it is so in
      each of them (3).
    t: start.
    s: end.
    given: arrays [B, ...] that the field also takes, constant in time.
    rtol: relative tolerance of a step.
    atol: absolute tolerance of a step.
    max_steps: accepted and rejected steps at the most.

  Returns:
    y at s, NaN where the steps did not do, and the evaluations [B]: two for
    the first step's size, and six for each step.
  """
  first = jax.tree.leaves(y)[0]
  times = jnp.full(first.shape[:1], t, first.dtype)
  end = jnp.asarray(s, first.dtype)
  size = functools.partial(_size, rtol=rtol, atol=atol)
  slope = field(y, times, given)
  walk = _Walk(
    y=y,
    slope=slope,
    t=times,
    h=_first_step(field, y, slope, times, end, given, size),
    again=jnp.zeros(times.shape, bool),
    attempts=jnp.zeros(times.shape, jnp.int32),
    going=jnp.ones(times.shape, bool),
  )

  def go(walk: _Walk) -> _Walk:
    walk = _step(field, walk, end, given, size)
    return walk._replace(going=walk.going & (walk.attempts < max_steps))

  walk = jax.lax.while_loop(lambda walk: jnp.any(walk.going), go, walk)
  here = walk.t == end
  y = jax.tree.map(
    lambda leaf: jnp.where(base.expand(here, leaf), leaf, jnp.nan), walk.y
  )
  return y, 2 + len(_NODES) * walk.attempts


def _step(
  field: Field, walk: _Walk, end: Array, given: PyTree, size: Callable
) -> _Walk:
  """Tries a step of every image, by (2) and (3)."""
  left = end - walk.t
  last = jnp.abs(left) <= jnp.abs(walk.h)
  h = jnp.where(last, left, walk.h)
  arrive = jnp.where(last, end, walk.t + h)
  y, slope, error = _stages(field, walk, h, given)
  r = size(error, walk.y, y)
  good = (r < 1) & walk.going
  factor = _SAFETY * jnp.maximum(r, 1e-30) ** -0.2
  most = jnp.where(walk.again, 1.0, _MOST)
  factor = jnp.where(good, jnp.minimum(factor, most), factor)
  factor = jnp.where(jnp.isfinite(r), jnp.maximum(factor, _LEAST), _LEAST)
  keep = lambda new, old: jnp.where(base.expand(good, new), new, old)
  stuck = walk.t + h == walk.t
  return _Walk(
    y=jax.tree.map(keep, y, walk.y),
    slope=jax.tree.map(keep, slope, walk.slope),
    t=keep(arrive, walk.t),
    h=h * factor.astype(h.dtype),
    again=~good,
    attempts=walk.attempts + walk.going,
    going=walk.going & ~(good & last) & ~stuck,
  )


def _stages(
  field: Field, walk: _Walk, h: Array, given: PyTree
) -> tuple[PyTree, PyTree, PyTree]:
  """Returns y' of (2), the slope there, and the estimate of its error."""
  rows, nodes, errors = (
    jnp.asarray(np.asarray(x), h.dtype) for x in (_ROWS, _NODES, _ERRORS)
  )
  move = lambda y, k, weights: (
    y + base.expand(h, y) * jnp.tensordot(weights, k, 1)
  )

  def stage(i: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    k, _ = carry
    y = jax.tree.map(lambda y, k: move(y, k, rows[i]), walk.y, k)
    slope = field(y, walk.t + nodes[i] * h, given)
    return jax.tree.map(lambda k, new: k.at[i + 1].set(new), k, slope), y

  k = jax.tree.map(
    lambda slope: jnp.zeros((7, *slope.shape), slope.dtype).at[0].set(slope),
    walk.slope,
  )
  # A loop, so that the network is compiled once and not six times.
  k, y = jax.lax.fori_loop(0, len(_NODES), stage, (k, walk.y))
  error = jax.tree.map(lambda k: move(jnp.zeros_like(k[0]), k, errors), k)
  return y, jax.tree.map(lambda k: k[-1], k), error


def _first_step(
  field: Field,
  y: PyTree,
  slope: PyTree,
  t: Array,
  end: Array,
  given: PyTree,
  size: Callable,
) -> Array:
  """Returns steps [B] that should do (Hairer et al. 1993, II.4)."""
  length = jnp.abs(end - t)
  d0, d1 = size(y, y, y), size(slope, y, y)
  small = (d0 < 1e-5) | (d1 < 1e-5)
  guess = jnp.where(small, 1e-6, 0.01 * d0 / jnp.where(small, 1, d1))
  h = jnp.minimum(guess, length) * jnp.sign(end - t)
  moved = jax.tree.map(lambda y, k: y + base.expand(h, y) * k, y, slope)
  change = jax.tree.map(jnp.subtract, field(moved, t + h, given), slope)
  curved = jnp.maximum(size(change, y, y) / jnp.abs(h), d1)
  straight = curved <= 1e-15
  second = (0.01 / jnp.where(straight, 1, curved)) ** 0.2
  second = jnp.where(straight, jnp.maximum(1e-6, 1e-3 * jnp.abs(h)), second)
  most = jnp.minimum(jnp.minimum(100 * jnp.abs(h), second), length)
  return most * jnp.sign(end - t)


def _size(
  errors: PyTree, y: PyTree, z: PyTree, *, rtol: float, atol: float
) -> Array:
  """Returns the rms [B] of errors over the tolerance, of the worst array."""

  def rms(error: Array, y: Array, z: Array) -> Array:
    scaled = error / (atol + rtol * jnp.maximum(jnp.abs(y), jnp.abs(z)))
    return jnp.sqrt(jnp.mean(scaled**2, axis=tuple(range(1, y.ndim))))

  each = jax.tree.leaves(jax.tree.map(rms, errors, y, z))
  return functools.reduce(jnp.maximum, each)
