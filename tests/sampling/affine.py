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
from tests.sampling import selected

DATA = analytic.Gaussian()
SLOTS = 2  # of noise in a step
LENGTH = 2048  # steps at once


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


def maps(process, rules, times, following):
  """Returns A [N], B [N, SLOTS], c [N] of the steps between times [N].

  For every one of `rules`, a dict of solvers.
  """
  x = jnp.zeros((2 + SLOTS, 1)).at[1].set(1.0)
  z = np.zeros((1, SLOTS, 2 + SLOTS, 1))
  z[0, range(SLOTS), range(2, 2 + SLOTS)] = 1.0
  denoiser, noise = DATA.denoiser(process), sampling.Recorded(z)

  def step(t, s):
    return {
      name: rule.step(denoiser, process, rule.init(x), x, t, s, noise)[0]
      for name, rule in rules.items()
    }

  # Not compiled: thousands of steps at once are few operations, which are
  # themselves compiled for each length.
  pad = lambda values: np.pad(values, (0, LENGTH - len(values)), 'edge')
  out = jax.vmap(step)(pad(times), pad(following))
  return {
    name: read(np.asarray(x)[: len(times), :, 0]) for name, x in out.items()
  }


def read(out):
  zero = out[:, 0]
  return out[:, 1] - zero, out[:, 2:] - zero[:, None], zero


def every_distance(rules, grids):
  """Returns the W2 distances [processes, grids] on all smooth processes.

  Args:
    rules: solvers, by name.
    grids: those of each process.
  """
  found = [
    distances(process, rules, its)
    for process, its in zip(selected.EVERY, grids, strict=True)
  ]
  return {name: np.asarray([each[name] for each in found]) for name in rules}


def distances(process, rules, grids):
  """Returns the W2 distances [grids] of the solvers' laws to the exact one.

  A solver starts from the exact marginal at a grid's first time.
  """
  first = np.concatenate([times[:-1] for times in grids])
  second = np.concatenate([times[1:] for times in grids])
  ends = np.asarray([times[[0, -1]] for times in grids])
  mean, variance = map(np.asarray, DATA.marginal(process, ends))
  result = {}
  for name, steps in maps(process, rules, first, second).items():
    step, result[name] = zip(*steps, strict=True), []
    for k, times in enumerate(grids):
      m, v = mean[k, 0], variance[k, 0]
      for _ in times[1:]:
        a, b, c = next(step)
        m, v = a * m + c, a**2 * v + b @ b
      error = m - mean[k, 1], v**0.5 - variance[k, 1] ** 0.5
      result[name].append(np.hypot(*error))
  return result
