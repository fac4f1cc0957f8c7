r"""A mixture of Gaussians: a model whose denoiser is known, to try solvers on.

Of data sum_k w_k N(m_k, s_k^2 I), x at scales alpha and sigma comes from the
k-th part with variance v_k = alpha^2 s_k^2 + sigma^2, and then

  E[x_0 | x, k] = m_k + alpha s_k^2 (x - alpha m_k) / v_k,                (1)
  E[eps | x, k] = sigma (x - alpha m_k) / v_k,                            (2)

each weighed by p(k | x), which is proportional to w_k N(x; alpha m_k, v_k I).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from difjax import metrics
from difjax.denoising import prediction
from difjax.processes import base, ve
from difjax.typing import Array, Cond, Params, Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
  """A model without parameters, of points [B, d].

  Attributes:
    process: how points become noise.
    means: m_k.
    stds: s_k.
    weights: w_k.
  """

  process: base.Process = ve.EDM()
  means: tuple[tuple[float, ...], ...] = ((1.0, 0.2), (-0.8, 0.7), (-0.1, -1.0))
  stds: tuple[float, ...] = (0.3, 0.2, 0.4)
  weights: tuple[float, ...] = (0.5, 0.3, 0.2)
  evaluations: ClassVar[int] = 1
  null_label: ClassVar[bool] = False

  def __post_init__(self) -> None:
    if not len(self.means) == len(self.stds) == len(self.weights):
      raise ValueError('means, stds and weights are not equally many')
    if not math.isclose(sum(self.weights), 1):
      raise ValueError(f'weights must add up to 1: {self.weights}')

  @property
  def shape(self) -> Shape:
    """(d,)."""
    return (len(self.means[0]),)

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the exact denoiser; there are no classes."""
    del params, cond
    return self._denoise

  def moments(self) -> metrics.Gaussian:
    """Returns mean and covariance of the data."""
    means, weights = np.asarray(self.means), np.asarray(self.weights)
    mean = weights @ means
    within = weights @ np.asarray(self.stds) ** 2
    away = means - mean
    between = np.einsum('k,kd,ke->de', weights, away, away)
    return metrics.Gaussian(mean, within * np.eye(len(mean)) + between)

  def _denoise(self, x: Array, t: Array) -> prediction.Prediction:
    alpha, sigma = (
      base.expand(scale(t), x)[..., None]
      for scale in (self.process.alpha, self.process.sigma)
    )
    means = jnp.asarray(self.means, x.dtype)
    s2 = jnp.asarray(self.stds, x.dtype)[:, None] ** 2
    v = alpha**2 * s2 + sigma**2  # [B or 1, K, 1]
    away = x[:, None] - alpha * means
    joint = jnp.log(jnp.asarray(self.weights, x.dtype)) - 0.5 * jnp.sum(
      away**2 / v + jnp.log(v), axis=-1
    )
    share = jax.nn.softmax(joint, axis=-1)[..., None]
    return prediction.Prediction(
      x0=jnp.sum(share * (means + alpha * s2 * away / v), axis=1),
      eps=jnp.sum(share * (sigma * away / v), axis=1),
    )
