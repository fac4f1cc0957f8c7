r"""A Gaussian diffusion process is two scalar functions of time.

Data x_0 sit at t = 0; at time t they are seen as

  x_t = alpha(t) x_0 + sigma(t) eps,    eps ~ N(0, I).                    (1)

A process states `alpha` and `sigma`; all else follows once, here. The signal
to noise ratio in logarithms is

  lambda(t) = 2 log(alpha / sigma),     strictly decreasing.              (2)

The linear SDE dx = f x dt + g dw with the marginals (1) has

  f = d log(alpha) / dt,                                                  (3)
  g^2 = 2 sigma (sigma' - f sigma) = -sigma^2 dlambda/dt.                 (4)

For s < t the transition from x_s to x_t is Gaussian,

  x_t = a x_s + b eps,   a = alpha_t / alpha_s,
  b^2 = sigma_t^2 - a^2 sigma_s^2 = -sigma_t^2 expm1(lambda_t - lambda_s), (5)

and with (1) the posterior q(x_s | x_t, x_0) is N(mean, variance),

  mean = (a sigma_s^2 / sigma_t^2) x_t + (alpha_s b^2 / sigma_t^2) x_0,
  variance = sigma_s^2 b^2 / sigma_t^2.                                   (6)

(1) to (4): Kingma et al. 2021, Variational Diffusion Models, and Song et al.
2021, Score-Based Generative Modeling through SDEs; (6): Ho et al. 2020, eq. 7.

All functions are elementwise in t. They compute in the dtype of t, but never
below float32.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from difjax.typing import Array, Key, Shape

_BISECTIONS = 64  # halvings of the time interval: below float64's spacing


def as_time(t: Array) -> Array:
  """Returns t as an array of at least float32."""
  t = jnp.asarray(t)
  return t.astype(jnp.promote_types(t.dtype, jnp.float32))


def expand(values: Array, like: Array) -> Array:
  """Appends axes to `values` [B] or scalar, to broadcast over `like`."""
  return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def derivative(function: Callable[[Array], Array], t: Array) -> Array:
  """Differentiates an elementwise function at t."""
  t = as_time(t)
  return jax.jvp(function, (t,), (jnp.ones_like(t),))[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
  """A Gaussian process on [t_min, t_max], data at t = 0.

  Subclasses give `alpha` and `sigma`. Everything else may be overridden by a
  closed form, and the tests hold it against the derivation.

  Attributes:
    t_min: where training and sampling end, above 0.
    t_max: where sampling starts from the prior.
  """

  t_min: float
  t_max: float

  def __post_init__(self) -> None:
    if not 0 < self.t_min < self.t_max:
      raise ValueError(
        f'needs 0 < t_min < t_max, not {self.t_min} and {self.t_max}'
      )

  def alpha(self, t: Array) -> Array:
    """Returns the scale of the data at t (1)."""
    raise NotImplementedError

  def sigma(self, t: Array) -> Array:
    """Returns the standard deviation of the noise at t (1)."""
    raise NotImplementedError

  def drift(self, t: Array) -> Array:
    """Returns the factor f of the linear drift (3)."""
    return derivative(lambda u: jnp.log(self.alpha(u)), t)

  def diffusion2(self, t: Array) -> Array:
    """Returns the squared diffusion coefficient g^2 (4)."""
    return -(self.sigma(t) ** 2) * derivative(self.logsnr, t)

  def logsnr(self, t: Array) -> Array:
    """Returns lambda = 2 log(alpha / sigma) (2)."""
    return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

  def time_of_logsnr(self, logsnr: Array) -> Array:
    """Returns the t of [t_min, t_max] at which lambda has a value.

    Bisection, which needs nothing but that lambda decreases. Its gradient
    comes from the implicit function: dt/dlambda = 1 / lambda'(t).
    """
    return _invert(self.logsnr, self.t_min, self.t_max, as_time(logsnr))

  def transition(self, t: Array, s: Array) -> tuple[Array, Array]:
    """Returns (a, b^2) of x_t = a x_s + b eps, for s < t (5)."""
    a = self.alpha(t) / self.alpha(s)
    b2 = -(self.sigma(t) ** 2) * jnp.expm1(self.logsnr(t) - self.logsnr(s))
    return a, b2

  def renoise(self, x: Array, s: Array, t: Array, z: Array) -> Array:
    """Returns x_t for x_s [B, ...] and noise z [B, ...] at s < t (5)."""
    a, b2 = self.transition(t, s)
    b = jnp.sqrt(jnp.maximum(b2, 0))  # 0 where t is s, however it rounds
    return expand(a, x) * x + expand(b, x) * z

  def posterior(
    self, x: Array, x0: Array, t: Array, s: Array
  ) -> tuple[Array, Array]:
    """Returns mean and variance of q(x_s | x_t, x_0) (6).

    Args:
      x: [B, ...], at time t.
      x0: [B, ...], the data.
      t: [B] or scalar.
      s: [B] or scalar, below t.
    """
    a, b2 = self.transition(t, s)
    kept = (self.sigma(s) / self.sigma(t)) ** 2
    drawn = b2 / self.sigma(t) ** 2
    mean = expand(a * kept, x) * x + expand(self.alpha(s) * drawn, x) * x0
    return mean, b2 * kept

  def perturb(self, x0: Array, eps: Array, t: Array) -> Array:
    """Returns x_t for data [B, ...], noise [B, ...] and times [B] (1)."""
    return expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * eps

  def prior_std(self) -> float:
    """Returns the standard deviation of the prior, that of x at t_max."""
    with jax.ensure_compile_time_eval():
      return float(self.sigma(self.t_max))

  def prior(self, key: Key, shape: Shape) -> Array:
    """Draws x at t_max, in float32."""
    return self.prior_std() * jax.random.normal(key, shape)

  def prior_logp(self, x: Array) -> Array:
    """Returns the log-density [B] of the prior in nats, x [B, ...]."""
    d = math.prod(x.shape[1:])
    std = self.prior_std()
    square = jnp.sum((x / std) ** 2, axis=tuple(range(1, x.ndim)))
    return -0.5 * (square + d * math.log(2 * math.pi * std**2))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _invert(
  function: Callable[[Array], Array], low: float, high: float, value: Array
) -> Array:
  def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = bounds
    middle = 0.5 * (low + high)
    later = function(middle) > value  # lambda decreases: the root is above
    return jnp.where(later, middle, low), jnp.where(later, high, middle)

  start = (jnp.full_like(value, low), jnp.full_like(value, high))
  low_end, high_end = jax.lax.fori_loop(0, _BISECTIONS, halve, start)
  return 0.5 * (low_end + high_end)


@_invert.defjvp
def _invert_jvp(
  function: Callable[[Array], Array],
  low: float,
  high: float,
  primals: tuple[Array],
  tangents: tuple[Array],
) -> tuple[Array, Array]:
  t = _invert(function, low, high, *primals)
  return t, tangents[0] / derivative(function, t)
