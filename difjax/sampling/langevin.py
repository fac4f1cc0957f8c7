r"""Langevin dynamics at a fixed time, and predictor-corrector samplers.

A step of Langevin dynamics leaves p_t as it is,

  x <- x + e score + sqrt(2 e) z,   e = 2 a^2 (snr |z| / |score|)^2,      (1)

with a^2 the squared scale of the transition (1 - beta on DDPM's levels, 1 for
variance exploding). Norms are per image, so images do not depend on the batch
that they are in. Source: Song et al. 2021, Score-Based Generative Modeling
through SDEs, algorithms 4 and 5.

A predictor-corrector is a solver made of two: at time t the corrector, then the
predictor from t to s (algorithm 1 there). Langevin dynamics alone, down a
ladder of levels, is the annealed sampler of Song & Ermon 2019.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver
from difjax.typing import Array, PyTree

_FIRST_SLOT = 1  # slot 0 is the predictor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Langevin(solver.Memoryless):
  """Langevin steps at time t (1); x stays at t.

  Attributes:
    snr: the ratio of the score's step to the noise.
    steps: how many.
  """

  snr: float = 0.16
  steps: int = 1

  @property
  def evaluations(self) -> int:
    """One a step."""
    return self.steps

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
    """Moves x within p_t (1)."""
    a, _ = process.transition(t, s)

    def move(i: Array, x: Array) -> Array:
      score = prediction.score(denoiser(x, t), process, t)
      z = noise.normal(_FIRST_SLOT + i, x)
      e = 2 * a**2 * (self.snr * _norm(z) / _norm(score)) ** 2
      return x + e * score + jnp.sqrt(2 * e) * z

    return jax.lax.fori_loop(0, self.steps, move, x), state


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorCorrector:
  """A corrector at t, then a predictor from t to s.

  Attributes:
    predictor: takes x from t to s, drawing from slot 0.
    corrector: moves x at t, drawing from slots above 0.
  """

  predictor: solver.Solver
  corrector: solver.Solver

  @property
  def evaluations(self) -> int:
    """Those of both."""
    return self.predictor.evaluations + self.corrector.evaluations

  def init(self, x: Array) -> PyTree:
    """Returns both states."""
    return self.predictor.init(x), self.corrector.init(x)

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
    """Corrects at t, then predicts s."""
    first, second = state
    x, second = self.corrector.step(denoiser, process, second, x, t, s, noise)
    x, first = self.predictor.step(denoiser, process, first, x, t, s, noise)
    return x, (first, second)


def _norm(x: Array) -> Array:
  axes = tuple(range(1, x.ndim))
  return jnp.sqrt(jnp.sum(x**2, axis=axes, keepdims=True))
