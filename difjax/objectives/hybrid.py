r"""The hybrid loss of networks that learn the variance of their reverse steps.

  L = a L_simple + b N E_i [ vb_i ],                                      (1)

L_simple that of `denoising`, vb_i the term of the variational bound at level i
of N (`bound`, equations 2 and 3) in bits per dimension, so that N E_i is their
sum. Where the mean is detached, the bound trains the variance alone. Source:
Nichol & Dhariwal 2021, section 3.1 and equation 16, and the official code:

| official loss               | a | b        | detached |
|-----------------------------|---|----------|----------|
| hybrid (rescaled MSE)       | 1 | 0.001    | yes      |
| ADM's (MSE)                 | 1 | 1 / N    | yes      |
| bound alone (rescaled KL)   | 0 | 1        | no       |

The bound's terms differ by orders of magnitude. Levels drawn with probability

  p_i ~ sqrt(E[ L_i^2 ]),   each term divided by N p_i,                   (2)

have the same mean and the least variance (section 3.3); the expectation is that
over the last losses at each level, and p uniform until all have some.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from difjax.denoising import targets
from difjax.objectives import bound, denoising, times
from difjax.processes import base
from difjax.typing import Array, Batch, Key, Metrics, Params, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hybrid(denoising.Denoising):
  """The hybrid loss (1), on a process of levels.

  Attributes:
    simple_weight: a.
    bound_weight: b.
    detached: the bound does not train the mean.
    variance: of the reverse steps.
  """

  simple_weight: float = 1.0
  bound_weight: float = 1e-3
  detached: bool = True
  variance: bound.Variance = bound.Learned()
  learned_range: bool = True

  def loss(
    self,
    params: Params,
    aux: PyTree,
    frozen: PyTree,
    batch: Batch,
    key: Key,
    *,
    step: Array,
    ema: dict[str, Params],
  ) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Averages (1) over a batch; metrics: its two parts."""
    del frozen, step, ema
    found = self.attempt(params, batch, key)
    each, metrics = self.parts(found)
    each = found.importance * each
    return jnp.mean(each), ({**metrics, **self.by_time(found.t, each)}, aux)

  def parts(self, found: denoising.Attempt) -> tuple[Array, Metrics]:
    """Returns (1) of each image [B], and the means of its two parts."""
    simple = self.errors(found)
    bits = self.process.levels * self.bits(found)
    means = {
      'simple': jnp.mean(found.importance * simple),
      'bits_per_dim': jnp.mean(found.importance * bits),
    }
    return self.simple_weight * simple + self.bound_weight * bits, means

  def bits(self, found: denoising.Attempt) -> Array:
    """Returns vb_i [B], in bits per dimension."""
    y = jax.lax.stop_gradient(found.y) if self.detached else found.y
    y = y.astype(found.x.dtype)
    guess = targets.invert(self.target, self.process, y, found.x, found.t).x0
    return bound.term(
      self.process, found.x0, found.x, guess, found.spread,
      self.process.index(found.t), self.variance)


class Losses(NamedTuple):
  """The last losses at each level.

  Attributes:
    values: [N, history], the oldest overwritten first.
    counts: int [N], how many there ever were.
  """

  values: Array
  counts: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Drawn(times.Times):
  """Levels by their probabilities.

  Attributes:
    p: [N].
  """

  p: Array

  def draw(
    self, process: base.Process, key: Key, n: int
  ) -> tuple[Array, Array]:
    """Draws times [n] and their factors on the loss [n]."""
    i = jax.random.choice(key, len(self.p), (n,), p=self.p)
    return process.time(i), 1 / (len(self.p) * self.p[i])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportanceHybrid(Hybrid):
  """The hybrid loss at levels drawn by (2); `times` is not used.

  Attributes:
    history: losses that are kept of each level.
    uniform: of the probability, the part that all levels share alike.
  """

  history: int = 10
  uniform: float = 1e-3

  def init_aux(self) -> Losses:
    """Returns no losses."""
    levels = self.process.levels
    return Losses(
      jnp.zeros((levels, self.history)), jnp.zeros(levels, jnp.int32))

  def loss(
    self,
    params: Params,
    aux: Losses,
    frozen: PyTree,
    batch: Batch,
    key: Key,
    *,
    step: Array,
    ema: dict[str, Params],
  ) -> tuple[Array, tuple[Metrics, Losses]]:
    """Averages (1) over a batch by (2), and keeps its losses."""
    del frozen, step, ema
    drawn = dataclasses.replace(self, times=_Drawn(p=self.probabilities(aux)))
    found = drawn.attempt(params, batch, key)
    each, metrics = self.parts(found)
    kept = keep(aux, self.process.index(found.t), jax.lax.stop_gradient(each))
    each = found.importance * each
    return jnp.mean(each), ({**metrics, **self.by_time(found.t, each)}, kept)

  def probabilities(self, losses: Losses) -> Array:
    """Returns p [N] of (2)."""
    root = jnp.sqrt(jnp.mean(losses.values**2, axis=-1))
    share = (1 - self.uniform) * root / jnp.sum(root)
    known = jnp.all(losses.counts >= self.history)
    levels = len(root)
    return jnp.where(known, share + self.uniform / levels, 1 / levels)


def keep(losses: Losses, index: Array, values: Array) -> Losses:
  """Adds the losses [B] of levels [B], of which several may be the same."""

  def add(losses: Losses, item: tuple[Array, Array]) -> tuple[Losses, None]:
    i, value = item
    place = losses.counts[i] % losses.values.shape[-1]
    return Losses(
      losses.values.at[i, place].set(value), losses.counts.at[i].add(1)), None

  return jax.lax.scan(add, losses, (index, values))[0]
