r"""Data whose diffusion is known in closed form, for any process.

For data N(m, C) the marginal at t is N(alpha m, S), S = alpha^2 C + sigma^2,
and with r = S^-1 (x - alpha m)

  E[x_0 | x] = m + alpha C r,   E[eps | x] = sigma r.                     (1)

A mixture weighs (1) by its components' posterior probabilities. Both have an
exact log-density, and their probability-flow ODE an exact map: in the
coordinates y = x / alpha, rho = sigma / alpha of every process alike,

  dy / d rho = E[eps | x],                                                (2)

which is in closed form for a Gaussian and integrated by Runge-Kutta of order
4 in log(rho) for a mixture, to 1e-11.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.processes import base


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """Independent numbers N(mean, std^2), of any shape."""

  mean: float = 0.3
  std: float = 0.5

  def marginal(self, process, t):
    """Returns mean and variance of x at t."""
    return self._moments(process.alpha(t), process.sigma(t))

  def _moments(self, alpha, sigma):
    return alpha * self.mean, (alpha * self.std) ** 2 + sigma**2

  def denoiser(self, process):
    """Returns the exact denoiser (1)."""

    def denoise(x, t):
      mean, variance = self.marginal(process, t)
      r = (x - base.expand(mean, x)) / base.expand(variance, x)
      alpha, sigma = process.alpha(t), process.sigma(t)
      x0 = self.mean + base.expand(alpha * self.std**2, x) * r
      return prediction.Prediction(x0, base.expand(sigma, x) * r)

    return denoise

  def logp(self, x, alpha, sigma):
    """Returns the exact log-density [B] of x at scales, scalar or [B]."""
    mean, variance = (base.expand(v, x) for v in self._moments(alpha, sigma))
    each = (x - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance)
    return -0.5 * jnp.sum(each, axis=tuple(range(1, x.ndim)))

  def flow(self, process, x, t, s):
    """Returns where the ODE takes x from t to s."""
    mean_t, variance_t = self.marginal(process, t)
    mean_s, variance_s = self.marginal(process, s)
    return mean_s + (x - mean_t) * jnp.sqrt(variance_s / variance_t)


@dataclasses.dataclass(frozen=True)
class Mixture:
  """Rotated, anisotropic Gaussians in the plane; x is [B, 2]."""

  weights: tuple[float, ...] = (0.5, 0.3, 0.2)
  means: tuple[tuple[float, float], ...] = ((1, 0.2), (-0.8, 0.7), (-0.1, -1))
  stds: tuple[tuple[float, float], ...] = ((0.3, 0.6), (0.5, 0.25), (0.4, 0.4))
  angles: tuple[float, ...] = (0.4, -0.9, 0.0)

  def _parts(self, x, alpha, sigma):
    """Returns log joint [B, K], whitened residual r and C r [B, K, 2]."""
    sine, cosine = np.sin(self.angles), np.cos(self.angles)
    axes = np.stack([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1)
    alpha, sigma = base.expand(alpha, x), base.expand(sigma, x)
    mean = np.asarray(self.means, np.float64)
    variance = np.asarray(self.stds, np.float64) ** 2
    alpha, sigma, x = alpha[..., None], sigma[..., None], x[:, None]
    total = alpha**2 * variance + sigma**2
    local = jnp.einsum('bkd,kde->bke', x - alpha * mean, axes)
    r = local / total
    joint = np.log(self.weights) - 0.5 * jnp.sum(
      local * r + jnp.log(2 * jnp.pi * total), axis=-1
    )
    back = lambda v: jnp.einsum('bke,kde->bkd', v, axes)
    return joint, back(r), back(variance * r)

  def pair(self, x, alpha, sigma):
    """Returns the exact (x0, eps) at scales alpha and sigma, scalar or [B]."""
    joint, r, c_r = self._parts(x, alpha, sigma)
    posterior = jax.nn.softmax(joint, axis=-1)[..., None]
    alpha, sigma = base.expand(alpha, x), base.expand(sigma, x)
    x0 = jnp.asarray(self.means) + alpha[..., None] * c_r
    return prediction.Prediction(
      jnp.sum(posterior * x0, axis=1),
      sigma * jnp.sum(posterior * r, axis=1),
    )

  def denoiser(self, process):
    """Returns the exact denoiser."""
    return lambda x, t: self.pair(x, process.alpha(t), process.sigma(t))

  def logp(self, x, alpha, sigma):
    """Returns the exact log-density [B] of x at scales, scalar or [B]."""
    return jax.nn.logsumexp(self._parts(x, alpha, sigma)[0], axis=-1)

  def flow(self, process, x, t, s, steps=2000):
    """Returns where the ODE takes x from t to s (2)."""
    start, stop = (
      jnp.log(process.sigma(u)) - jnp.log(process.alpha(u)) for u in (t, s)
    )
    y = _runge_kutta(self, x / process.alpha(t), start, stop, steps)
    return y * process.alpha(s)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _runge_kutta(data, y, start, stop, steps):
  h = (stop - start) / steps

  def slope(log_rho, y):
    rho = jnp.exp(log_rho)
    return rho * data.pair(y, jnp.ones_like(rho), rho).eps

  def step(y, i):
    now = start + i * h
    a = slope(now, y)
    b = slope(now + h / 2, y + h / 2 * a)
    c = slope(now + h / 2, y + h / 2 * b)
    d = slope(now + h, y + h * c)
    return y + h / 6 * (a + 2 * b + 2 * c + d), None

  return jax.lax.scan(step, y, jnp.arange(steps))[0]
