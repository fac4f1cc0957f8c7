r"""The probability-flow ODE with adaptive steps, on device.

  dx / dt = alpha' x_0(x, t) + sigma' eps(x, t),   t_max -> t_min,        (1)

integrated by the embedded 5(4) pair of Dormand & Prince, as in Song et al.
2021, section 4.3. Error is controlled for each image by itself, so an image
does not depend on the batch that it is in; the batch runs until its slowest
image is done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.typing import Array, PyTree

_STAGES = 6  # new evaluations in a step: the seventh is the next step's first
_FIRST_STEP = 0.01  # of the interval; the controller takes it from there


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
  field, consts = _field_of_one(denoiser, process, x)

  def one(x: Array) -> tuple[Array, Array]:
    solution = diffrax.diffeqsolve(
      diffrax.ODETerm(lambda t, x, consts: field(consts, t, x)),
      diffrax.Dopri5(),
      jnp.asarray(t, x.dtype),
      jnp.asarray(s, x.dtype),
      dt0=jnp.asarray(_FIRST_STEP * (s - t), x.dtype),
      y0=x,
      args=consts,
      stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
      adjoint=diffrax.ForwardMode(),
      max_steps=max_steps,
      throw=False,
    )
    done = solution.result == diffrax.RESULTS.successful
    out = jnp.where(done, solution.ys[-1], jnp.nan)
    return out, 1 + _STAGES * solution.stats['num_steps']

  return jax.vmap(one)(x)


def _field_of_one(
  denoiser: prediction.Denoiser, process: base.Process, x: Array
) -> tuple[Callable[[PyTree, Array, Array], Array], PyTree]:
  """Returns one image's field (consts, t, x) -> dx/dt, for use under vmap.

  Each image is a solve of its own, and the vmap over them is the batch that the
  denoiser sees: labels meet their images, and the network runs on full
  batches. What the denoiser closes over becomes `consts`, since a rule for
  vmap may not close over tracers.
  """

  def velocity(x: Array, t: Array) -> Array:
    return prediction.velocity(denoiser(x, t), process, t)

  closed = jax.make_jaxpr(velocity)(x, jnp.zeros(x.shape[:1], x.dtype))

  @jax.custom_batching.custom_vmap
  def field(consts: PyTree, t: Array, x: Array) -> Array:
    del consts, t  # stands for the shape of one image; it is never run
    return jnp.full_like(x, jnp.nan)

  @field.def_vmap
  def _(size: int, batched: PyTree, consts: PyTree, t: Array, x: Array):
    x = x if batched[2] else jnp.broadcast_to(x, (size, *x.shape))
    t = jnp.broadcast_to(t, (size,))
    return jax.core.eval_jaxpr(closed.jaxpr, consts, x, t)[0], True

  return field, closed.consts
