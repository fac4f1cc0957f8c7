r"""DDIM, and with it DDPM's ancestral sampling.

From t to s < t, with the noise c of the posterior scaled by eta,

  x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z,                    (1)
  c^2 = eta^2 (sigma_s^2 / sigma_t^2) b^2,

b^2 the variance of the transition from s to t. eta = 0 is the deterministic
DDIM; eta = 1 is a draw from the posterior q(x_s | x_t, x_0), so DDPM's
ancestral sampling with the small variance (and Song's for VE). What is drawn
may be wider than the posterior, by the spread v in [0, 1],

  c^2 -> c^2 (sigma_t^2 / sigma_s^2)^v,                                   (2)

from the posterior's variance at 0 to b^2 at 1, in logarithms: a learned
variance, or a fixed one. v = 1 at eta = 1 is DDPM's large variance, which on
its levels is score-SDE's ancestral sampling for VP,

  x_s = (x + beta score) / sqrt(1 - beta) + sqrt(beta) z.                 (3)

Sources: Song, Meng & Ermon 2021, equations 12 and 16; Ho et al. 2020,
algorithm 2; Nichol & Dhariwal 2021, equation 15; Song et al. 2021,
Score-Based Generative Modeling through SDEs, equation 4 and appendix F.
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
class DDIM(solver.Memoryless):
  """DDIM (1): deterministic at eta 0, DDPM's ancestral sampling at eta 1.

  Attributes:
    eta: how much of the posterior's noise is drawn.
    spread: v in (2), where the network learned none.
  """

  eta: float = 0.0
  spread: float = 0.0

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
    x0, eps, learned = denoiser(x, t)
    sigma2 = process.sigma(s) ** 2
    _, b2 = process.transition(t, s)
    kept = sigma2 / process.sigma(t) ** 2
    c2 = self.eta**2 * kept * b2
    x_s = process.alpha(s) * x0 + jnp.sqrt(jnp.maximum(sigma2 - c2, 0)) * eps
    if not self.eta:
      return x_s, state
    spread = self.spread if learned is None else learned
    drawn = c2 * kept ** (-spread)  # from the posterior's to b^2
    return x_s + jnp.sqrt(drawn) * noise.normal(0, x), state
