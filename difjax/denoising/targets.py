r"""What a network is trained to output, as two coefficients.

A target is y = a x_0 + b eps. With x = alpha x_0 + sigma eps it is a 2 x 2
system of determinant

  D = alpha b - sigma a,                                                  (1)

so that an output y at x gives both unknowns back:

  x_0 = (b x - sigma y) / D,   eps = (alpha y - a x) / D.                 (2)

At fixed x an error of y is proportional to the error of x_0 and of eps,

  dy = -(D / sigma) dx_0 = (D / alpha) deps,                              (3)

hence a loss stated for one target is a loss for every other: squared errors of
targets y and z are in the ratio of their squared determinants.

| target        | a           | b            | D           | source             |
|---------------|-------------|--------------|-------------|--------------------|
| Noise         | 0           | 1            | alpha       | Ho et al. 2020     |
| Data          | 1           | 0            | -sigma      |                    |
| Score         | 0           | -1 / sigma   | -alpha / sigma | Song et al. 2021 |
| V             | -sigma      | alpha        | alpha^2 + sigma^2 | Salimans & Ho 2022 |
| Velocity      | alpha'      | sigma'       | alpha sigma' - sigma alpha' | Lipman et al. 2023 |
| Preconditioned | sigma / (d r) | -alpha d / r | -r / d  | Karras et al. 2022 |
| Consistency | (1 - alpha k) / o | -sigma k / o | -sigma / o | Song et al. 2023 |

with d the data's standard deviation and r^2 = alpha^2 d^2 + sigma^2. With the
noise level n = sigma / alpha and its least value m,

  x_0 = k x + o y,   k = d^2 / (alpha ((n - m)^2 + d^2)),                 (4)
                     o = (n - m) d / sqrt(n^2 + d^2).
"""  # noqa: E501, a table

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.typing import Array

_SINGULAR = 1e-6  # determinants below this are refused
_LEAST = 1e-12  # a factor of the network's output that stands for 0


class Target(Protocol):
  """What a network regresses."""

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns (a, b) of y = a x_0 + b eps, in the shape of t."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
  """The noise eps.

  Attributes:
    factor: f of f eps: -1 for networks of EDM's VE, which put out the score
      times sigma.
  """

  factor: float = 1.0

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns (0, factor)."""
    one = jnp.ones_like(process.alpha(t))
    return 0 * one, self.factor * one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """The data x_0."""

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns (1, 0)."""
    one = jnp.ones_like(process.alpha(t))
    return one, 0 * one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """The score of the perturbation kernel, -eps / sigma.

  Attributes:
    unit: u of -u eps / sigma, the score in coordinates x / u: 2 for networks
      whose official data are in [0, 1].
  """

  unit: float = 1.0

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns (0, -unit / sigma)."""
    inverse = self.unit / process.sigma(t)
    return 0 * inverse, -inverse


@dataclasses.dataclass(frozen=True, kw_only=True)
class V:
  """The v of progressive distillation, alpha eps - sigma x_0."""

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns (-sigma, alpha)."""
    return -process.sigma(t), process.alpha(t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Velocity:
  """The velocity of flow matching, alpha' x_0 + sigma' eps.

  Attributes:
    factor: on it: -1 for networks whose time runs from noise to data.
  """

  factor: float = 1.0

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns factor (alpha', sigma')."""
    alpha_dot = base.derivative(process.alpha, t)
    sigma_dot = base.derivative(process.sigma, t)
    return self.factor * alpha_dot, self.factor * sigma_dot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preconditioned:
  """EDM's preconditioned output: unit variance at every noise level.

  With alpha = 1 this is F of x_0 = c_skip x + c_out F (Karras et al. 2022,
  equation 7 and table 1).

  Attributes:
    data_std: d, the standard deviation of the data.
  """

  data_std: float = 0.5

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns (sigma / (d r), -alpha d / r)."""
    d, alpha, sigma = self.data_std, process.alpha(t), process.sigma(t)
    r = jnp.sqrt((alpha * d) ** 2 + sigma**2)
    return sigma / (d * r), -alpha * d / r


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency:
  """The output of a consistency model: x_0 is x at the least noise (4).

  As the official code has it, n and not n - m stands below o.

  Attributes:
    data_std: d, the standard deviation of the data.
    sigma_min: m, the least noise level; there the network counts for nothing.
  """

  data_std: float = 0.5
  sigma_min: float = 0.002

  def coefficients(
    self, process: base.Process, t: Array
  ) -> tuple[Array, Array]:
    """Returns ((1 - alpha k) / o, -sigma k / o), large at m."""
    d, alpha, sigma = self.data_std, process.alpha(t), process.sigma(t)
    n = sigma / alpha
    above = n - self.sigma_min
    kept = d**2 / (above**2 + d**2)  # alpha k
    out = above * d / jnp.sqrt(n**2 + d**2)
    out = jnp.where(jnp.abs(out) < _LEAST, _LEAST, out)
    return (1 - kept) / out, -kept * n / out


def value(
  target: Target, process: base.Process, x0: Array, eps: Array, t: Array
) -> Array:
  """Returns y [B, ...] = a x_0 + b eps."""
  a, b = target.coefficients(process, t)
  return base.expand(a, x0) * x0 + base.expand(b, eps) * eps


def determinant(target: Target, process: base.Process, t: Array) -> Array:
  """Returns D in the shape of t (1)."""
  a, b = target.coefficients(process, t)
  return process.alpha(t) * b - process.sigma(t) * a


def invert(
  target: Target, process: base.Process, y: Array, x: Array, t: Array
) -> prediction.Prediction:
  """Returns the pair that gives output y [B, ...] at x [B, ...] (2)."""
  a, b = target.coefficients(process, t)
  alpha, sigma = process.alpha(t), process.sigma(t)
  d = alpha * b - sigma * a
  term = lambda scale, of: base.expand(scale, of) * of
  return prediction.Prediction(
    x0=term(b / d, x) - term(sigma / d, y),
    eps=term(alpha / d, y) - term(a / d, x),
  )


def check(target: Target, process: base.Process) -> None:
  """Refuses a target that loses x_0 or eps at an end of the process.

  Raises:
    ValueError: |D| < 1e-6 at t_min or t_max.
  """
  for field in ('t_min', 't_max'):
    t = getattr(process, field)
    with jax.ensure_compile_time_eval():
      d = float(abs(determinant(target, process, jnp.asarray(t))))
    if not d >= _SINGULAR:
      raise ValueError(
        f'{type(target).__name__} is singular at {field} = {t:g} of '
        f'{type(process).__name__} (determinant {d:.1e}): move {field} inwards '
        'or choose another target, such as V'
      )
