r"""Solvers of the reverse SDE dx = (f x - g^2 score) dt + g dw.

With h = t - s > 0, and the forward transition x_t = a x_s + b eps,

  Euler-Maruyama     x_s = x - h (f x - g^2 score) + g sqrt(h) z,         (1)
  reverse diffusion  x_s = x - ((a - 1) x - b^2 score) + b z.             (2)

(2) discretises the reverse SDE as the forward one is; on DDPM's levels a and b
are sqrt(1 - beta) and sqrt(beta). The probability flow of either takes half the
score and draws nothing: a rule of order 1 for the ODE. Source: Song et al.
2021, Score-Based Generative Modeling through SDEs, equation 46 and appendices
D.3 and E.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver
from difjax.typing import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class EulerMaruyama(solver.Memoryless):
  """Euler-Maruyama on the reverse SDE, of weak order 1 (1).

  Attributes:
    probability_flow: take half the score and draw nothing.
  """

  probability_flow: bool = False

  @property
  def evaluations(self) -> int:
    """One."""
    return 1

  def step(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    state: PyTree,
    x: Array,
    t: Array,
    s: Array,
    noise: noises.Noise,
  ) -> tuple[Array, PyTree]:
    """Takes x from t to s (1)."""
    h = t - s
    g2 = process.diffusion2(t)
    score = prediction.score(denoiser(x, t), process, t)
    if self.probability_flow:
      return x - h * (process.drift(t) * x - 0.5 * g2 * score), state
    x_s = x - h * (process.drift(t) * x - g2 * score)
    return x_s + jnp.sqrt(g2 * h) * noise.normal(0, x), state


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReverseDiffusion(solver.Memoryless):
  """The forward process's own discretisation, reversed; weak order 1 (2).

  Attributes:
    probability_flow: take half the score and draw nothing.
  """

  probability_flow: bool = False

  @property
  def evaluations(self) -> int:
    """One."""
    return 1

  def step(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    state: PyTree,
    x: Array,
    t: Array,
    s: Array,
    noise: noises.Noise,
  ) -> tuple[Array, PyTree]:
    """Takes x from t to s (2)."""
    a, b2 = process.transition(t, s)
    score = prediction.score(denoiser(x, t), process, t)
    if self.probability_flow:
      return x - ((a - 1) * x - 0.5 * b2 * score), state
    x_s = x - ((a - 1) * x - b2 * score)
    return x_s + jnp.sqrt(b2) * noise.normal(0, x), state
