r"""What a denoiser knows of x_t = alpha x_0 + sigma eps: both unknowns.

A denoiser estimates x_0 and eps together; either follows from the other and
x_t, but each is singular somewhere (alpha = 0, sigma = 0), so both are kept.
Other fields of the literature are linear in the pair:

  score    = grad log p_t(x) = -eps / sigma,                              (1)
  velocity = dx / dt of the probability-flow ODE = alpha' x_0 + sigma' eps. (2)

(2) is f x - g^2 score / 2 (Song et al. 2021, equation 13) without its
singularity at alpha = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from difjax.processes import base
from difjax.typing import Array


class Prediction(NamedTuple):
  """An estimate of both parts of x_t.

  Attributes:
    x0: [B, ...], E[x_0 | x_t].
    eps: [B, ...], E[eps | x_t].
    spread: in [0, 1], where a learned variance lies between its bounds; only
      ancestral solvers read it.
  """

  x0: Array
  eps: Array
  spread: Array | None = None


Denoiser = Callable[[Array, Array], Prediction]
"""(x [B, ...], t scalar or [B]) -> Prediction."""


def score(prediction: Prediction, process: base.Process, t: Array) -> Array:
  """Returns the score [B, ...] (1)."""
  return -prediction.eps / base.expand(process.sigma(t), prediction.eps)


def velocity(prediction: Prediction, process: base.Process, t: Array) -> Array:
  """Returns the velocity [B, ...] of the probability-flow ODE (2)."""
  alpha_dot = base.derivative(process.alpha, t)
  sigma_dot = base.derivative(process.sigma, t)
  x0, eps = prediction.x0, prediction.eps
  return base.expand(alpha_dot, x0) * x0 + base.expand(sigma_dot, eps) * eps
