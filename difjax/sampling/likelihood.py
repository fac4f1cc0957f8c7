r"""Exact likelihood and latent codes, along the probability-flow ODE.

With v the field of the ODE (`ode`, equation 1), the density of where it takes
x from t_min to t_max changes at the rate of its divergence,

  log p(x) = log p_prior(x(t_max)) + int_{t_min}^{t_max} div v(x(t), t) dt, (1)

the instantaneous change of variables (Chen et al. 2018, Neural Ordinary
Differential Equations, theorem 1; Song et al. 2021, section 4.3). For any e
with E[e e^T] = I

  div v = E[e^T (dv/dx) e],                                               (2)

the estimate of Skilling and Hutchinson. Image i keeps its e for the whole
solve, so that the integrand stays smooth; (dv/dx) e is one forward-mode
product beside the evaluation itself. The integral is carried per number,
int div v dt / D, so that one tolerance means the same for x and for log p, and
float32 does for images of any size.

A density of x at t_min is that of data with noise of standard deviation
sigma(t_min); the prior is not exactly the density at t_max. No tolerance
removes either difference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import ode
from difjax.typing import Array, Key, PyTree


class Trace(Protocol):
  """Chooses the e of (2)."""

  def probes(self, key: Key, x: Array) -> Array:
    """Returns probes [K, ...] of one image x [...], with mean e e^T = I."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rademacher:
  """Signs: of all independent numbers those with the least variance.

  Attributes:
    count: probes an image, whose estimates are averaged.
  """

  count: int = 1

  def probes(self, key: Key, x: Array) -> Array:
    """Draws probes [K, ...] of -1 and 1."""
    return jax.random.rademacher(key, (self.count, *x.shape), x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussian:
  """Standard normal numbers.

  Attributes:
    count: probes an image, whose estimates are averaged.
  """

  count: int = 1

  def probes(self, key: Key, x: Array) -> Array:
    """Draws probes [K, ...]."""
    return jax.random.normal(key, (self.count, *x.shape), x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact:
  """The basis itself, D products instead of one: for small dimensions."""

  def probes(self, key: Key, x: Array) -> Array:
    """Returns sqrt(D) times the D unit images."""
    del key
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    return math.sqrt(x.size) * basis


class Likelihood(NamedTuple):
  """What (1) gives.

  Attributes:
    logp: [B], log-densities in nats.
    evaluations: [B], of the network, each with its product (2).
    latent: [B, ...], x at t_max.
  """

  logp: Array
  evaluations: Array
  latent: Array


def log_likelihood(
  denoiser: prediction.Denoiser,
  process: base.Process,
  x: Array,
  keys: Key,
  *,
  trace: Trace = Rademacher(),
  rtol: float = 1e-5,
  atol: float = 1e-5,
  max_steps: int = 10_000,
) -> Likelihood:
  """Evaluates the log-density of images by (1).

  Args:
    denoiser: (x [B, ...], t) -> Prediction.
    process: the process whose ODE is solved.
    x: [B, ...], data.
    keys: [B], of the images' probes.
    trace: how the divergence is found.
    rtol: relative tolerance of a step.
    atol: absolute tolerance of a step.
    max_steps: accepted and rejected steps at the most; an image that needs
      more has NaN.
  """
  size = math.prod(x.shape[1:])

  def field(y: PyTree, t: Array, probes: Array) -> PyTree:
    velocity = lambda x: prediction.velocity(denoiser(x, t), process, t)
    v, trace_of = divergence(velocity, y[0], probes)
    return v, trace_of / size

  (latent, change), evaluations = ode.integrate(
    field,
    process,
    (x, jnp.zeros(x.shape[:1], x.dtype)),
    process.t_min,
    process.t_max,
    given=jax.vmap(trace.probes)(keys, x),
    rtol=rtol,
    atol=atol,
    max_steps=max_steps,
  )
  logp = process.prior_logp(latent) + size * change
  return Likelihood(logp, evaluations, latent)


def divergence(
  velocity: Callable[[Array], Array], x: Array, probes: Array
) -> tuple[Array, Array]:
  """Evaluates a field and its divergence by (2).

  Args:
    velocity: x [B, ...] -> v [B, ...], each image by itself.
    x: [B, ...].
    probes: [B, K, ...].

  Returns:
    v [B, ...], and the mean [B] of e^T (dv/dx) e over K probes.
  """

  def product(e: Array) -> tuple[Array, Array]:
    v, along = jax.jvp(velocity, (x,), (e,))
    return v, jnp.sum(e * along, axis=tuple(range(1, x.ndim)))

  if probes.shape[1] == 1:  # by far the most usual, and faster than under vmap
    return product(probes[:, 0])
  v, traces = jax.vmap(product, in_axes=1, out_axes=(None, 0))(probes)
  return v, jnp.mean(traces, axis=0)


def encode(
  denoiser: prediction.Denoiser,
  process: base.Process,
  x: Array,
  *,
  rtol: float = 1e-5,
  atol: float = 1e-5,
) -> tuple[Array, Array]:
  """Returns the latent codes [B, ...] of data and evaluations [B]."""
  ends = process.t_min, process.t_max
  return ode.solve(denoiser, process, x, *ends, rtol=rtol, atol=atol)


def decode(
  denoiser: prediction.Denoiser,
  process: base.Process,
  latent: Array,
  *,
  rtol: float = 1e-5,
  atol: float = 1e-5,
) -> tuple[Array, Array]:
  """Returns the data [B, ...] of latent codes and evaluations [B].

  The inverse of `encode`: it ends at t_min without a last denoising.
  """
  ends = process.t_max, process.t_min
  return ode.solve(denoiser, process, latent, *ends, rtol=rtol, atol=atol)


def interpolate(a: Array, b: Array, weight: Array) -> Array:
  """Goes from latent code a to b on the great circle between them.

  With w the angle between a and b (Shoemake 1985, Animating Rotation with
  Quaternion Curves), sin((1 - weight) w) / sin(w) a + sin(weight w) / sin(w) b:
  codes between two draws of the prior are as long as draws of it are.

  Args:
    a: [B, ...], at weight 0.
    b: [B, ...], at weight 1.
    weight: scalar or [B], in [0, 1].
  """
  axes = tuple(range(1, a.ndim))
  inner = lambda x, y: jnp.sum(x * y, axis=axes)
  cosine = inner(a, b) / jnp.sqrt(inner(a, a) * inner(b, b))
  angle = jnp.arccos(jnp.clip(cosine, -1, 1))
  weight = jnp.broadcast_to(jnp.asarray(weight, a.dtype), angle.shape)
  # sinc, so that equal codes give themselves and not 0 / 0
  part = lambda w: w * jnp.sinc(w * angle / jnp.pi) / jnp.sinc(angle / jnp.pi)
  return (
    base.expand(part(1 - weight), a) * a + base.expand(part(weight), a) * b
  )
