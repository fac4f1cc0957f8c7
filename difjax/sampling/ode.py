r"""The probability-flow ODE with adaptive steps, on device.

  dx / dt = alpha' x_0(x, t) + sigma' eps(x, t),   t_max -> t_min,        (1)

integrated by the embedded 5(4) pair of Dormand & Prince, as in Song et al.
2021, section 4.3. The steps are taken in lambda = 2 log(alpha / sigma),

  dx / dlambda = (dx / dt) / (dlambda / dt),                              (2)

the same solution: it changes over about as much of lambda at any noise level,
whereas steps in t would have to shrink with t, which costs rejected ones. Only
where an end has no noise, or nothing else, and lambda there is infinite, as of
flow matching on all of [0, 1], are the steps taken in t. Time, step and error
are those of each image by itself, so an image does not depend on the batch that
it is in; the network sees the whole batch at once, and is called until the
slowest image is done. `integrate` is the same for any field over images, such
as (1) with its divergence beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.typing import Array, PyTree

Field = Callable[[PyTree, Array, PyTree], PyTree]
"""(y, t [B], given) -> dy/dt, all of [B, ...] and one image by itself."""

_STAGES = 6  # evaluations in a step: its first slope is the last step's last
_FIRST_STEP = 0.01  # of the interval; the controller takes it from there
_GROWTH = 5.0  # of a step over the last: far wider ones escape the estimate


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
    velocity, process, x, t, s, rtol=rtol, atol=atol, max_steps=max_steps
  )


def integrate(
  field: Field,
  process: base.Process,
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

  A step is good when the root mean square of its estimated errors, each over
  atol + rtol |y|, is below 1 in every array of an image's state.

  Args:
    field: what is integrated.
    process: whose lambda paces the steps (2), where finite at both ends.
    y: arrays [B, ...] of one dtype at time t.
    t: start, in the process's times.
    s: end, likewise.
    given: arrays [B, ...] that the field also takes, constant in time.
    rtol: relative tolerance of a step.
    atol: absolute tolerance of a step.
    max_steps: accepted and rejected steps at the most.

  Returns:
    y at s, NaN where the steps did not do, and the evaluations [B]: one at the
    start, and six for each step.
  """
  import diffrax  # late: it is a third of a second, and few runs call it
  dtype = jax.tree.leaves(y)[0].dtype
  start, end, in_clock = _clocked(field, process, jnp.asarray([t, s], dtype))
  slope, consts = _field_of_one(in_clock, y, given)

  def one(y: PyTree, given: PyTree) -> tuple[PyTree, Array]:
    args = consts, given
    # Given the first slope, no try of a first step has to ask for it again.
    known = jnp.array(False), slope(*args, start, y)
    solution = diffrax.diffeqsolve(
      diffrax.ODETerm(lambda t, y, args: slope(*args, t, y)),
      diffrax.Dopri5(), start, end,
      dt0=_FIRST_STEP * (end - start),
      y0=y,
      args=args,
      stepsize_controller=diffrax.PIDController(
        rtol=rtol, atol=atol, norm=_norm, factormax=_GROWTH
      ),
      adjoint=diffrax.ForwardMode(),
      max_steps=max_steps,
      solver_state=known,
      throw=False,
    )  # fmt: skip
    done = solution.result == diffrax.RESULTS.successful
    out = jax.tree.map(lambda ys: jnp.where(done, ys[-1], jnp.nan), solution.ys)
    return out, 1 + _STAGES * solution.stats['num_steps']

  return jax.vmap(one)(y, given)


def _clocked(
  field: Field, process: base.Process, ends: Array
) -> tuple[Array, Array, Field]:
  """Returns both ends, times [2], and a field over time, by what paces it."""
  logsnr = process.logsnr(ends)
  paced = jnp.all(jnp.isfinite(logsnr))  # by lambda (2), and else by time

  def slope(y: PyTree, clock: Array, given: PyTree) -> PyTree:
    t = jnp.where(paced, process.time_of_logsnr(clock), clock)
    pace = base.derivative(process.time_of_logsnr, clock)
    pace = jnp.where(paced, pace, 1)
    in_time = field(y, t, given)
    return jax.tree.map(lambda v: base.expand(pace, v) * v, in_time)

  start, end = jnp.where(paced, logsnr, ends)
  return start, end, slope


def _norm(errors: PyTree) -> Array:
  """Returns the largest root mean square among arrays."""
  means = [jnp.mean(error**2) for error in jax.tree.leaves(errors)]
  return jnp.sqrt(jnp.max(jnp.stack(means)))


def _field_of_one(
  field: Field, y: PyTree, given: PyTree
) -> tuple[Callable[[PyTree, PyTree, Array, PyTree], PyTree], PyTree]:
  """Returns one image's field (consts, given, t, y) -> dy/dt, and its consts.

  Each image is a solve of its own, and the vmap over them is the batch that the
  field sees: labels meet their images, and the network runs on full batches.
  What the field closes over becomes `consts`, since a rule for vmap may not
  close over tracers.
  """
  first = jax.tree.leaves(y)[0]
  times = jnp.zeros(first.shape[:1], first.dtype)
  closed = jax.make_jaxpr(field)(y, times, given)

  @jax.custom_batching.custom_vmap
  def slope(consts: PyTree, given: PyTree, t: Array, y: PyTree) -> PyTree:
    del consts, given, t  # stands for the shape of one image; it is never run
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), y)

  @slope.def_vmap
  def _(size: int, batched: PyTree, consts: PyTree, *of_images: PyTree):
    spread = lambda leaf, has: (
      leaf if has else jnp.broadcast_to(leaf, (size, *leaf.shape))
    )
    given, t, y = jax.tree.map(spread, of_images, tuple(batched[1:]))
    leaves = jax.tree.leaves((y, t, given))
    out = jax.core.eval_jaxpr(closed.jaxpr, consts, *leaves)
    structure = jax.tree.structure(y)
    return structure.unflatten(out), structure.unflatten([True] * len(out))

  return slope, closed.consts
