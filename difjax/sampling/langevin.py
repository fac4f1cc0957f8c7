r"""Langevin dynamics at a fixed time, and predictor-corrector samplers.

A step of Langevin dynamics leaves p_t as it is,

  x <- x + e score + sqrt(2 e) z,                                         (1)

and its size e is chosen by a signal-to-noise ratio, with a^2 the squared scale
of the transition (1 - beta on DDPM's levels, 1 for variance exploding):

  Langevin           e = 2 a^2 (snr |z| / |score|)^2,                     (2)
  annealed Langevin  e = 2 a^2 (snr sigma_t)^2.                           (3)

Norms in (2) are per image, so images do not depend on the batch that they are
in; the official code takes their means over the batch, which couples images,
and only on request is it followed. (3) is the rule of NCSN, which states it as
e = epsilon (sigma_t / sigma_L)^2: snr = sqrt(epsilon / 2) / sigma_L.

A predictor-corrector is a solver made of two: at time t the corrector, then the
predictor from t to s. Its sampler corrects at every time of the grid, the last
included: N times are N (corrections + predictions) evaluations, the last
prediction being the denoiser's x_0. Annealed Langevin dynamics and no predictor
is the sampler of NCSN.

Sources: Song et al. 2021, Score-Based Generative Modeling through SDEs,
algorithms 1, 4 and 5; Song & Ermon 2019, algorithm 1.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import grids, samplers, solver
from difjax.sampling import noise as noises
from difjax.typing import Array, PyTree

_FIRST_SLOT = 1  # slot 0 is the predictor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Dynamics(solver.Memoryless):
  """Steps (1) at time t; x stays at t. Subclasses choose e.

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
      unit = self._unit(process.sigma(t), score, z)
      e = 2 * a**2 * (self.snr * unit) ** 2
      return x + e * score + jnp.sqrt(2 * e) * z

    return jax.lax.fori_loop(0, self.steps, move, x), state

  def _unit(self, sigma: Array, score: Array, z: Array) -> Array:
    """Returns the length of a step with an snr of 1."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Langevin(_Dynamics):
  """Langevin dynamics with steps by the norm of the score (2).

  Attributes:
    coupled: take the mean of each norm over the batch, as the official code
      does. An image then depends on those beside it.
  """

  coupled: bool = False

  def _unit(self, sigma: Array, score: Array, z: Array) -> Array:
    del sigma
    return self._norm(z) / self._norm(score)

  def _norm(self, x: Array) -> Array:
    axes = tuple(range(1, x.ndim))
    norm = jnp.sqrt(jnp.sum(x**2, axis=axes, keepdims=True))
    return jnp.mean(norm, axis=0, keepdims=True) if self.coupled else norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnealedLangevin(_Dynamics):
  """Langevin dynamics with steps by the noise level (3)."""

  def _unit(self, sigma: Array, score: Array, z: Array) -> Array:
    del score, z
    return sigma


@dataclasses.dataclass(frozen=True, kw_only=True)
class Idle(solver.Memoryless):
  """A predictor or corrector that does nothing."""

  @property
  def evaluations(self) -> int:
    """None."""
    return 0

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
    """Returns x as it is."""
    del denoiser, process, t, s, noise
    return x, state


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorCorrector(solver.Memoryless):
  """A corrector at t, then a predictor from t to s.

  Attributes:
    predictor: takes x from t to s, drawing from slot 0.
    corrector: moves x at t, drawing from slots above 0.
  """

  predictor: solver.Solver | solver.Planned
  corrector: solver.Solver | solver.Planned

  def __post_init__(self) -> None:
    # The corrector moves x off the path that a multistep predictor goes on.
    solver.require_memoryless(self.predictor, self)
    solver.require_memoryless(self.corrector, self)

  @property
  def evaluations(self) -> int:
    """Those of both."""
    return self.predictor.evaluations + self.corrector.evaluations

  def plan(
    self, process: base.Process, times: np.ndarray
  ) -> PredictorCorrector:
    """Returns the solver of one grid, times [N]."""
    return PredictorCorrector(
      predictor=solver.on_grid(self.predictor, process, times),
      corrector=solver.on_grid(self.corrector, process, times),
    )

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
    x, _ = self.corrector.step(denoiser, process, state, x, t, s, noise)
    return self.predictor.step(denoiser, process, state, x, t, s, noise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectedGrid:
  """A sampler of predictor and corrector, which corrects at the last time too.

  Attributes:
    predictor: takes x from each time to the next.
    corrector: moves x at each time.
    grid: the times.
    denoise: end with the denoiser's x_0, one evaluation more.
  """

  predictor: solver.Solver | solver.Planned
  corrector: solver.Solver | solver.Planned
  grid: grids.Grid
  denoise: bool = True

  def __post_init__(self) -> None:
    solver.require_memoryless(self.predictor, self)
    solver.require_memoryless(self.corrector, self)

  def __call__(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    x: Array,
    noise: noises.Noise,
  ) -> tuple[Array, Array]:
    """Returns samples [B, ...] and the evaluations [B] each one took."""
    times = self.grid(process)
    both = PredictorCorrector(
      predictor=self.predictor, corrector=self.corrector
    ).plan(process, times)
    x = samplers.sample(
      denoiser, process, both, x, times, noise, denoise=False
    )
    last, data = jnp.asarray(times[-1], x.dtype), jnp.zeros((), x.dtype)
    x, _ = both.corrector.step(
      denoiser, process, (), x, last, data, noise.at(len(times) - 1)
    )
    if self.denoise:
      x = denoiser(x, last).x0
    total = (
      len(times) * both.evaluations
      - self.predictor.evaluations
      + int(self.denoise)
    )
    return x, jnp.full(x.shape[:1], total)


def couples(part: object) -> bool:
  """Says whether any part of a sampler lets images depend on each other.

  Args:
    part: a sampler, a solver, or any other tree of dataclasses.
  """
  if not dataclasses.is_dataclass(part):
    return False
  fields = (getattr(part, field.name) for field in dataclasses.fields(part))
  return bool(getattr(part, 'coupled', False)) or any(map(couples, fields))
