"""The law of a stochastic solver without sampling.

On Gaussian data a step is affine in (x, z): x -> A x + B z + c. The numbers are
read off at a few points; mean and variance then propagate exactly.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from difjax import denoising, sampling
from difjax.sampling import solver
from tests import analytic

DATA = analytic.Gaussian()
SLOTS = 2  # of noise in a step


@dataclasses.dataclass(frozen=True)
class Relaxation(solver.Memoryless):
  """Langevin dynamics whose step knows no norms, so that it is affine.

  A step of size `rate` times that of log-SNR keeps a sampler's weak order.
  """

  rate: float = 0.25
  evaluations: int = 1

  def step(self, denoiser, process, state, x, t, s, noise):
    score = denoising.score(denoiser(x, t), process, t)
    e = self.rate * (process.logsnr(s) - process.logsnr(t))
    e = e * process.sigma(t) ** 2
    return x + e * score + jnp.sqrt(2 * e) * noise.normal(1, x), state


def maps(process, rule, times, following):
  """Returns A [N], B [N, SLOTS], c [N] of the steps between times [N]."""
  x = jnp.zeros((2 + SLOTS, 1)).at[1].set(1.0)
  z = np.zeros((1, SLOTS, 2 + SLOTS, 1))
  z[0, range(SLOTS), range(2, 2 + SLOTS)] = 1.0

  @jax.jit
  @jax.vmap
  def step(t, s):
    denoiser, state = DATA.denoiser(process), rule.init(x)
    noise = sampling.Recorded(z)
    return rule.step(denoiser, process, state, x, t, s, noise)[0]

  out = np.asarray(step(times, following))[..., 0]
  zero = out[:, 0]
  return out[:, 1] - zero, out[:, 2:] - zero[:, None], zero


def distances(process, rule, grids):
  """Returns the W2 distance of a solver's law to the exact one, by grid.

  The solver starts from the exact marginal at the grid's first time.
  """
  first = np.concatenate([times[:-1] for times in grids])
  second = np.concatenate([times[1:] for times in grids])
  steps = zip(*maps(process, rule, first, second), strict=True)
  result = []
  for times in grids:
    mean, variance = map(float, DATA.marginal(process, times[0]))
    for _ in times[1:]:
      a, b, c = next(steps)
      mean, variance = a * mean + c, a**2 * variance + b @ b
    exact_mean, exact = map(float, DATA.marginal(process, times[-1]))
    result.append(np.hypot(mean - exact_mean, variance**0.5 - exact**0.5))
  return np.asarray(result)
