r"""The discrete variational bound of DDPM-type models, in bits per dimension.

For a process of N levels, x_i at level i and data x of 256 levels of grey,

  -log p(x) <= KL(q(x_{N-1} | x) || prior)                                (1)
    + sum_{i=1}^{N-1} E KL(q(x_{i-1} | x_i, x) || p(x_{i-1} | x_i))       (2)
    - E log p(x | x_0)                                                    (3)

(Ho et al. 2020, equation 5), where p(x_{i-1} | x_i) is normal with the
posterior's mean at the denoiser's x_0 and a variance between

  small: that of q(x_{i-1} | x_i, x_0),  large: that of q(x_i | x_{i-1}), (4)

in logarithms (Nichol & Dhariwal 2021, equation 15). The decoder (3) gives each
grey level the normal's mass on its interval of width 2 / 255 about it, the
first and the last those beyond them (Ho et al. 2020, equation 13). At level 0,
where the small variance vanishes, it is that of level 1, and the large one is
sigma_0^2 where it is learned and again the small one where it is not, as in
the official codes. Expectations are single draws, keyed by image and level.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp

from difjax.denoising import prediction
from difjax.processes import base, discrete
from difjax.sampling import noise as noises
from difjax.typing import Array, Key

_HALF = 1 / 255  # of a grey level's interval
_TINY = 1e-12  # a probability that float32 can take the logarithm of


class Variance(Protocol):
  """Chooses the variance of a reverse step between the bounds (4)."""

  def __call__(
    self, small: Array, large: Array, first: Array, spread: Array | None
  ) -> Array:
    """Returns a log-variance, to broadcast over x.

    Args:
      small: the logarithm of the small variance, that of level 1 at level 0.
      large: the logarithm of the large variance.
      first: whether this is level 0.
      spread: what the denoiser says, [B, ...] or None.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small:
  """The posterior's variance."""

  def __call__(
    self, small: Array, large: Array, first: Array, spread: Array | None
  ) -> Array:
    """Returns the small one."""
    del large, first, spread
    return small


@dataclasses.dataclass(frozen=True, kw_only=True)
class Large:
  """The forward step's variance."""

  def __call__(
    self, small: Array, large: Array, first: Array, spread: Array | None
  ) -> Array:
    """Returns the large one, at level 0 the small."""
    del spread
    return jnp.where(first, small, large)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
  """What the network says between the two, `Prediction.spread`."""

  def __call__(
    self, small: Array, large: Array, first: Array, spread: Array | None
  ) -> Array:
    """Interpolates.

    Raises:
      ValueError: the denoiser has learned no variance.
    """
    del first
    if spread is None:
      raise ValueError('Learned: the denoiser gives no spread; use Small()')
    return small + spread * (large - small)


def terms(
  denoiser: prediction.Denoiser,
  process: discrete.Tabulated,
  x0: Array,
  keys: Key,
  *,
  variance: Variance = Small(),
  clip: bool = False,
) -> Array:
  """Evaluates the bound, level by level.

  Args:
    denoiser: (x [B, ...], t) -> Prediction.
    process: the process, with levels.
    x0: [B, ...], grey levels as b / 127.5 - 1.
    keys: [B], of the images' draws.
    variance: of the reverse steps.
    clip: whether the denoiser's x_0 is kept in [-1, 1].

  Returns:
    Bits per dimension [B, N + 1]: (3), the N - 1 terms of (2), and (1); their
    sum is the bound.
  """

  def level(i: Array) -> Array:
    draw = lambda key: jax.random.normal(key, x0.shape[1:], x0.dtype)
    eps = jax.vmap(draw)(noises.fold_in(keys, i))
    t = process.time(i).astype(x0.dtype)
    x = process.perturb(x0, eps, t)
    found = denoiser(x, jnp.broadcast_to(t, x.shape[:1]))
    guess = jnp.clip(found.x0, -1, 1) if clip else found.x0
    return term(process, x0, x, guess, found.spread, i, variance)

  levels = jax.lax.map(level, jnp.arange(process.levels))
  prior = _bits(_prior(process, x0), x0)
  return jnp.concatenate([levels, prior[None]]).T


def decoder_logp(x0: Array, mean: Array, std: Array) -> Array:
  """Returns log p of grey levels under normals, elementwise (3)."""
  above = jnp.where(x0 > 1 - _HALF, jnp.inf, (x0 + _HALF - mean) / std)
  below = jnp.where(x0 < -1 + _HALF, -jnp.inf, (x0 - _HALF - mean) / std)
  # A difference in the upper tail is one in the lower, where it keeps digits.
  flip = below > 0
  low = jnp.where(flip, -above, below)
  high = jnp.where(flip, -below, above)
  log_high = jax.scipy.special.log_ndtr(high)
  ratio = jnp.exp(jax.scipy.special.log_ndtr(low) - log_high)
  return log_high + jnp.log(jnp.maximum(1 - ratio, _TINY))


def term(
  process: discrete.Tabulated,
  x0: Array,
  x: Array,
  guess: Array,
  spread: Array | None,
  i: Array,
  variance: Variance,
) -> Array:
  """Evaluates the bound at one level: (3) at level 0, else a term of (2).

  Args:
    process: the process, with levels.
    x0: [B, ...], grey levels as b / 127.5 - 1.
    x: [B, ...], the data at that level.
    guess: [B, ...], the denoiser's x_0.
    spread: [B, ...], of a learned variance, or None.
    i: the level, scalar or [B].
    variance: of the reverse steps.

  Returns:
    Bits per dimension [B].
  """
  later = jnp.maximum(i, 1)  # level 0 borrows the small variance of level 1
  t, s = (process.time(j.astype(x0.dtype)) for j in (later, later - 1))
  mean, small = process.posterior(x, x0, t, s)
  model_mean, _ = process.posterior(x, guess, t, s)
  large = jnp.where(i == 0, process.sigma(s) ** 2, process.transition(t, s)[1])
  first, log_small, log_large = (
    base.expand(each, x) for each in (i == 0, jnp.log(small), jnp.log(large)))
  log_model = variance(log_small, log_large, first, spread)
  divergence = 0.5 * (
    log_model - log_small + jnp.expm1(log_small - log_model)
    + (mean - model_mean) ** 2 * jnp.exp(-log_model)
  )  # fmt: skip
  decoded = -decoder_logp(x0, guess, jnp.exp(0.5 * log_model))
  return _bits(_sum(jnp.where(first, decoded, divergence)), x0)


def _prior(process: discrete.Tabulated, x0: Array) -> Array:
  """Returns (1) [B] in nats."""
  t = process.time(process.levels - 1).astype(x0.dtype)
  prior = math.log(process.prior_std())
  ratio = 2 * (jnp.log(process.sigma(t)) - prior)
  shift = base.expand(process.alpha(t), x0) * x0 / math.exp(prior)
  return 0.5 * _sum(jnp.expm1(ratio) - ratio + shift**2)


def _bits(nats: Array, x0: Array) -> Array:
  """Returns bits per dimension of nats per image [B]."""
  return nats / (math.prod(x0.shape[1:]) * math.log(2))


def _sum(each: Array) -> Array:
  return jnp.sum(each, axis=tuple(range(1, each.ndim)))
