r"""DDIM and DDPM, and ancestral sampling around any solver.

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

ADM's classifier guidance of DDPM adds c^2 g to x_s, g the gradient of what is
wanted at x_t; that of DDIM is a guidance of the denoiser.

Around any solver of the ODE, ancestral sampling steps past s to a time d, and
takes the forward transition back up from d to s. With rho = sigma / alpha,

  rho_d^2 = rho_s^2 - rho_u^2,
  rho_u^2 = min(rho_s^2, eta^2 rho_s^2 (1 - rho_s^2 / rho_t^2)).          (4)

The way up is exact, so the law is as good as the solver. Around DDIM and at
eta = 1 this is (1) with eta = 1. DPM++ SDE asks the denoiser once more, at the
point u that (4) reaches at a fraction r of the step in log-SNR, and then steps
from t by (4) with

  x_0 = (1 - 1/(2r)) x_0(x, t) + 1/(2r) x_0(u, m).                        (5)

Its two draws are parts of one path: with rho_d' where (4) would step from m,
that of the step and that of u have the correlation

  (rho_d' / rho_m) rho_u(t, m) / rho_u(t, s).                             (6)

On Gaussian data that is of weak order 2; with draws that know nothing of each
other it is of weak order 1.

Sources: Song, Meng & Ermon 2021, equations 12 and 16; Ho et al. 2020,
algorithm 2; Nichol & Dhariwal 2021, equation 15; Dhariwal & Nichol 2021,
algorithm 1; Song et al. 2021, Score-Based Generative Modeling through SDEs,
equation 4 and appendix F; (4) and (5) are Katherine Crowson's k-diffusion.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import solver as solvers
from difjax.typing import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDIM(solvers.Memoryless):
  """DDIM (1): deterministic at eta 0, DDPM's ancestral sampling at eta 1.

  Attributes:
    eta: how much of the posterior's noise is drawn.
    spread: v in (2), where the network learned none.
    gradient: (x [B, ...], t) -> g, which moves what is drawn by c^2 g; None
      for no such guidance.
  """

  eta: float = 0.0
  spread: float = 0.0
  gradient: Callable[[Array, Array], Array] | None = None

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
    a, b2 = process.transition(t, s)
    kept = sigma2 / process.sigma(t) ** 2
    c2 = self.eta**2 * kept * b2
    # sigma_s^2 - c^2 as a sum: in long steps the difference rounds away.
    straight = sigma2 * (1 - self.eta**2 + self.eta**2 * a**2 * kept)
    x_s = process.alpha(s) * x0 + jnp.sqrt(jnp.maximum(straight, 0)) * eps
    if not self.eta:
      return x_s, state
    spread = self.spread if learned is None else learned
    drawn = c2 * kept ** (-spread)  # from the posterior's to b^2
    if self.gradient is not None:
      x_s = x_s + drawn * self.gradient(x, t)
    return x_s + jnp.sqrt(drawn) * noise.normal(0, x), state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ancestral(solvers.Around):
  """A solver of the ODE that steps past s, and the noise back up to s (4).

  Attributes:
    solver: the rule of the way down, of the ODE.
    eta: how much of the posterior's noise is drawn.
    noise_scale: a factor on what is drawn; other than 1 it is a bias by design.
    floor: sigma / alpha below which no step goes down.
  """

  eta: float = 1.0
  noise_scale: float = 1.0
  floor: float = 0.0

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
    """Takes x from t down past s, and back up to s (4)."""
    down = self.down(process, t, s)
    later = noises.Later(noise, 1)
    x, state = self.solver.step(denoiser, process, state, x, t, down, later)
    if not self.eta:
      return x, state
    return self.up(process, x, down, s, noise.normal(0, x)), state

  def down(self, process: base.Process, t: Array, s: Array) -> Array:
    """Returns the time d that the way down from t ends at."""
    if not self.eta:
      return s
    start, stop = process.logsnr(t), process.logsnr(s)
    # As sums, since 1 - rho_s^2 / rho_t^2 rounds to 1 in long steps.
    left = jnp.maximum(1 - self.eta**2 + self.eta**2 * jnp.exp(start - stop), 0)
    below = stop - jnp.log(left)
    if self.floor:
      lowest = jnp.maximum(stop, -2 * math.log(self.floor))
      below = jnp.minimum(below, lowest)
    return process.time_of_logsnr(below)

  def up(
    self, process: base.Process, x: Array, down: Array, s: Array, z: Array
  ) -> Array:
    """Takes x at d up to s by the forward transition, drawing z."""
    return process.renoise(x, down, s, self.noise_scale * z)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMPPSDE(solvers.Memoryless):
  """DPM++ SDE: two ancestral steps of DDIM, the first only to look (5).

  Attributes:
    eta: how much of the posterior's noise is drawn.
    noise_scale: a factor on what is drawn.
    r: the fraction of the step in log-SNR that is looked at.
    one_path: the draws are parts of one path (6), as k-diffusion's are up to
      terms of higher order; or they are taken as they come.
  """

  eta: float = 1.0
  noise_scale: float = 1.0
  r: float = 0.5
  one_path: bool = True

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
    """Takes x from t to s (5)."""
    start, stop = process.logsnr(t), process.logsnr(s)
    m = process.time_of_logsnr(start + self.r * (stop - start))
    z, z_u = noise.normal(1, x), noise.normal(0, x)
    if self.one_path and self.eta:
      kept = self._kept(process, t, m, s)
      z = kept * z_u + jnp.sqrt(jnp.maximum(1 - kept**2, 0)) * z
    first = denoiser(x, t)
    u = self._take(first, process, x, t, m, z_u)
    share = 0.5 / self.r
    x0 = (1 - share) * first.x0 + share * denoiser(u, m).x0
    eps = (x - process.alpha(t) * x0) / process.sigma(t)
    mixed = prediction.Prediction(x0, eps)
    return self._take(mixed, process, x, t, s, z), state

  def _take(
    self,
    seen: prediction.Prediction,
    process: base.Process,
    x: Array,
    t: Array,
    s: Array,
    z: Array,
  ) -> Array:
    """Takes x from t to s (4) when the denoiser has said what it sees."""
    rule = Ancestral(
      solver=DDIM(), eta=self.eta, noise_scale=self.noise_scale
    )
    down = rule.down(process, t, s)
    x, _ = rule.solver.step(lambda *_: seen, process, (), x, t, down, None)
    return rule.up(process, x, down, s, z) if self.eta else x

  def _kept(
    self, process: base.Process, t: Array, m: Array, s: Array
  ) -> Array:
    """Returns the correlation of a step's draw and its first part's (6)."""
    rule = Ancestral(solver=DDIM(), eta=self.eta)
    level = lambda t: jnp.exp(-0.5 * process.logsnr(t))

    def drawn(t: Array, s: Array) -> Array:
      return jnp.sqrt(process.transition(s, rule.down(process, t, s))[1])

    decay = level(rule.down(process, m, s)) / level(m)
    scale = process.alpha(s) / process.alpha(m)
    return decay * scale * drawn(t, m) / drawn(t, s)
