r"""Adaptive DPM-Solver: the size of a step by two rules that share evaluations.

A step of h in log(alpha / sigma) is taken by DPM-Solver-2 and -3, or -1 and
-2. What sets them apart, against a tolerance d,

  E = rms((x_low - x_high) / d),   d = max(atol, rtol max(|x_low|, |x_last|)),
                                                                          (1)

is an image's own; x_last is the x_low of its last good step. With e = 1 / E,
that now, in the last good step, and in the one before, the size becomes

  h <- h (1 + arctan(f - 1)),   f = e_0^b0 e_1^b1 e_2^b2,
  b0 = (p + i + d) / q,   b1 = -(p + 2d) / q,   b2 = d / q,               (2)

q the order, and the step counts if the factor on h is large enough. With noise
every step is ancestral, and q = 3/2. Sources: Lu et al. 2022, DPM-Solver,
appendix C; the controller is that of Katherine Crowson's k-diffusion, whose
error is that of the whole batch: `coupled`.
"""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import ancestral, dpm_solver, grids
from difjax.sampling import noise as noises
from difjax.typing import Array

_CLOSE = 1e-5  # in log(alpha / sigma): there is the end
_LEAST = 1e-8  # added to E


@flax.struct.dataclass
class _Progress:
  """Where every image is.

  Attributes:
    x: [B, ...].
    low: [B, ...], x_low of the last good step.
    place: [B], log(alpha / sigma).
    h: [B], the size of the next step.
    errors: e of the last two good steps, [2, B].
    good: [B], good steps.
    tried: [B], steps.
  """

  x: Array
  low: Array
  place: Array
  h: Array
  errors: Array
  good: Array
  tried: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveDPM:
  """Samples by DPM-Solver to a tolerance (1).

  Attributes:
    order: of the higher rule, 2 or 3.
    rtol: relative tolerance.
    atol: absolute tolerance; 2 / 256.
    first_step: h to begin with.
    proportional: p in (2).
    integral: i in (2).
    derivative: d in (2).
    safety: the least factor on h with which a step counts.
    eta: how much of the posterior's noise is drawn.
    noise_scale: a factor on what is drawn.
    coupled: the error is that of the whole batch, as in k-diffusion. An image
      then depends on those beside it.
    t_min: where to end; None: where the process does.
    max_steps: tried steps at the most; an image that needs more comes out as
      NaN.
    denoise: end with the denoiser's x_0, one evaluation more.
  """

  order: int = 3
  rtol: float = 0.05
  atol: float = 0.0078
  first_step: float = 0.05
  proportional: float = 0.0
  integral: float = 1.0
  derivative: float = 0.0
  safety: float = 0.81
  eta: float = 0.0
  noise_scale: float = 1.0
  coupled: bool = False
  t_min: float | None = None
  max_steps: int = 10_000
  denoise: bool = True

  def __post_init__(self) -> None:
    if self.order not in (2, 3):
      raise ValueError(f'AdaptiveDPM: order must be 2 or 3, not {self.order}')

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took.

    An image's k-th good step draws from slot 0 of step k.
    """
    t_min = process.t_min if self.t_min is None else self.t_min
    ends = np.asarray([process.t_max, t_min])
    start, end = 0.5 * grids.logsnr(process, ends)

    def goes_on(now: _Progress) -> Array:
      return jnp.any((now.place < end - _CLOSE) & (now.tried < self.max_steps))

    now = jax.lax.while_loop(
      goes_on,
      lambda now: self._try(denoiser, process, now, end, noise),
      self._begin(x, start),
    )
    done = base.expand(now.place >= end - _CLOSE, x)
    x = jnp.where(done, now.x, jnp.nan)
    evaluations = self.order * now.tried
    if not self.denoise:
      return x, evaluations
    return denoiser(x, jnp.asarray(t_min, x.dtype)).x0, evaluations + 1

  def _begin(self, x: Array, start: float) -> _Progress:
    dtype, shape = jnp.promote_types(x.dtype, jnp.float32), x.shape[:1]
    none = jnp.zeros(shape, jnp.int32)
    return _Progress(
      x=x, low=x, place=jnp.full(shape, start, dtype),
      h=jnp.full(shape, self.first_step, dtype),
      errors=jnp.zeros((2, *shape), dtype), good=none, tried=none,
    )  # fmt: skip

  def _try(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    now: _Progress,
    end: float,
    noise: noises.Noise,
  ) -> _Progress:
    """Tries a step of every image that is not at the end."""
    running = now.place < end - _CLOSE
    place = jnp.minimum(end, now.place + now.h)
    t, s = (process.time_of_logsnr(2 * at) for at in (now.place, place))
    rule = ancestral.Ancestral(
      solver=dpm_solver.DPMSolver1(), eta=self.eta,
      noise_scale=self.noise_scale, floor=float(np.exp(-end)),
    )  # fmt: skip
    down = rule.down(process, t, s)
    low, high = self._pair(denoiser, process, now.x, t, down)
    inverse = 1 / (self._error(low, high, now.low) + _LEAST)
    before = jnp.where(now.tried, now.errors, inverse)
    factor = self._factor(inverse, *before)
    counts = running & (factor >= self.safety)
    if self.eta:
      z = noise.at(now.good).normal(0, high)
      high = rule.up(process, high, down, s, z)
    keep = lambda new, old: jnp.where(base.expand(counts, new), new, old)
    return _Progress(
      x=keep(high, now.x), low=keep(low, now.low),
      place=keep(place, now.place), h=jnp.where(running, now.h * factor, now.h),
      errors=jnp.where(counts, jnp.stack([inverse, before[0]]), before),
      good=now.good + counts, tried=now.tried + running,
    )  # fmt: skip

  def _pair(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
  ) -> tuple[Array, Array]:
    """Returns x at s by the lower and by the higher rule."""
    if self.order == 2:
      low, high = dpm_solver.DPMSolver1(), dpm_solver.DPMSolver2()
    else:
      low, high = dpm_solver.DPMSolver2(r=1 / 3), dpm_solver.DPMSolver3()
    values = high.values(denoiser, process, x, t, s)
    return tuple(rule.reach(process, x, t, s, values) for rule in (low, high))

  def _error(self, low: Array, high: Array, last: Array) -> Array:
    """Returns E [B] (1)."""
    most = jnp.maximum(jnp.abs(low), jnp.abs(last))
    square = ((low - high) / jnp.maximum(self.atol, self.rtol * most)) ** 2
    mean = jnp.mean(square, axis=tuple(range(1, square.ndim)))
    if self.coupled:
      mean = jnp.broadcast_to(jnp.mean(mean), mean.shape)
    return jnp.sqrt(mean)

  def _factor(self, now: Array, last: Array, before: Array) -> Array:
    """Returns the factors [B] on h (2), by e of three steps."""
    q = 1.5 if self.eta else self.order
    p, i, d = self.proportional, self.integral, self.derivative
    weights = (p + i + d) / q, -(p + 2 * d) / q, d / q
    f = now ** weights[0] * last ** weights[1] * before ** weights[2]
    return 1 + jnp.arctan(f - 1)
