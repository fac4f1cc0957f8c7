r"""SDEs from noise to data with any diffusion: the samplers of SiT.

For every w(t) >= 0 the reverse-time SDE

  dx = (v(x, t) - w score) dt + sqrt(2 w) dz,   v the ODE's velocity,     (1)

has the marginals of the process; w = 0 is the ODE and w = g^2 / 2 the reverse
SDE. With h = t - s > 0 and c(x, t) = v - w score,

  Euler  x_s = x - h c(x, t) + sqrt(2 w h) z,                             (2)
  Heun   y = x + sqrt(2 w_t h) z,   x_s = y - h (c(y, t) + c(u, s)) / 2,
         u = y - h c(y, t),                                               (3)

both of weak order 1: (3) takes the noise and the drift in turns. Times are in
[0, 1], data at 0, where SiT has them at 1. SiT's last steps are those of
`FixedGrid.last`: its Euler is `Euler`, its Tweedie `Denoise`, its Mean (2)
without the noise. Source: Ma et al. 2024, SiT, equations 4 and 7 and section
2.4; w is what its code calls the diffusion, half of the paper's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver
from difjax.typing import Array, PyTree

Diffusion = Callable[[base.Process, Array], Array]
"""(process, t) -> w(t)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scaled:
  """A diffusion up to a factor.

  Attributes:
    scale: the factor.
  """

  scale: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantDiffusion(_Scaled):
  """w = scale: SiT's "constant"."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns w(t)."""
    del process
    return jnp.full_like(base.as_time(t), self.scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReverseDiffusionRate(_Scaled):
  """w = scale g^2 / 2, at scale 1 the reverse SDE: SiT's "SBDM"."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns w(t)."""
    return 0.5 * self.scale * process.diffusion2(t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmaDiffusion(_Scaled):
  """w = scale sigma(t): SiT's "sigma"."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns w(t)."""
    return self.scale * process.sigma(t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearDiffusion(_Scaled):
  """w = scale t: SiT's "linear"."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns w(t)."""
    del process
    return self.scale * base.as_time(t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecreasingDiffusion(_Scaled):
  """w = ((1 - scale cos(pi t)) / 2)^2: SiT's "decreasing"."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns w(t)."""
    del process
    return (0.5 * (1 - self.scale * jnp.cos(math.pi * base.as_time(t)))) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class HumpedDiffusion(_Scaled):
  """w = scale sin^2(pi t): SiT's "increasing-decreasing"."""

  def __call__(self, process: base.Process, t: Array) -> Array:
    """Returns w(t)."""
    del process
    return self.scale * jnp.sin(math.pi * base.as_time(t)) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDEEuler(solver.Memoryless):
  """Euler-Maruyama with any diffusion, of weak order 1 (2).

  Attributes:
    diffusion: w.
    noise_scale: a factor on what is drawn; 0 gives the mean.
  """

  diffusion: Diffusion = ReverseDiffusionRate()
  noise_scale: float = 1.0

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
    mean = x - (t - s) * _drift(denoiser, process, self.diffusion, x, t)
    if not self.noise_scale:
      return mean, state
    w = self.diffusion(process, t)
    std = self.noise_scale * jnp.sqrt(2 * w * (t - s))
    return mean + std * noise.normal(0, x), state


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDEHeun(solver.Memoryless):
  """Noise, and Heun's rule on the drift, of weak order 1 (3).

  Attributes:
    diffusion: w.
  """

  diffusion: Diffusion = ReverseDiffusionRate()

  @property
  def evaluations(self) -> int:
    """Two."""
    return 2

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
    """Takes x from t to s (3)."""
    h, w = t - s, self.diffusion(process, t)
    y = x + jnp.sqrt(2 * w * h) * noise.normal(0, x)
    first = _drift(denoiser, process, self.diffusion, y, t)
    second = _drift(denoiser, process, self.diffusion, y - h * first, s)
    return y - 0.5 * h * (first + second), state


def _drift(
  denoiser: prediction.Denoiser,
  process: base.Process,
  diffusion: Diffusion,
  x: Array,
  t: Array,
) -> Array:
  """Returns v - w score (1); where w is 0, the score may be infinite."""
  seen, w = denoiser(x, t), diffusion(process, t)
  score = prediction.score(seen, process, t)
  velocity = prediction.velocity(seen, process, t)
  return velocity - jnp.where(w > 0, w * score, 0)
