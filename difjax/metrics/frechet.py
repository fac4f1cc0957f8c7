"""Frechet distance of two Gaussians, the formula inside FID.

  (1)  d^2 = |m_a - m_b|^2 + tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}

(Dowson and Landau 1982; Heusel et al. 2017). With A = F F^T and B = G G^T, the
last trace is the sum of the singular values of F^T G:

  (2)  tr (A^{1/2} B A^{1/2})^{1/2} = |F^T G|_*,

real by construction, where a matrix root of A B needs its imaginary part
dropped. F and G come from symmetric eigendecompositions without the null
directions, so fewer images than features cost neither accuracy nor time; the
eigenvalues of A^{1/2} B A^{1/2} would turn a rounding error of 1e-16 there into
a root of 1e-8.

Where A and B nearly agree, (1) is a small difference of large traces. With the
singular vectors F^T G = U S W^T its part without the means is as well

  (3)  tr A + tr B - 2 tr S = |F U - G W|^2 = min over rotations Q |F - G Q|^2,

which subtracts before it squares: a distance of 1e-12 of the traces keeps its
digits. The vectors cost thrice the values' time, so (3) is for that case alone.
"""

from __future__ import annotations

import numpy as np

from difjax import errors
from difjax.metrics import statistics

_CLOSE = 1e-6  # share of the traces below which (1) has lost too many digits


def _factor(covariance: np.ndarray) -> np.ndarray:
  """F [d, rank] with F F^T = covariance, in float64."""
  covariance = np.asarray(covariance, np.float64)
  values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
  noise = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
  kept = values > noise
  return vectors[:, kept] * np.sqrt(values[kept])


def _gap(f: np.ndarray, g: np.ndarray) -> float:
  """The right-hand side of (3) for factors [d, r] and [d, s]."""
  u, _, w = np.linalg.svd(f.T @ g)
  f, g = f @ u, g @ w.T
  shared = min(f.shape[1], g.shape[1])
  rest = np.sum(f[:, shared:] ** 2) + np.sum(g[:, shared:] ** 2)
  return float(np.sum((f[:, :shared] - g[:, :shared]) ** 2) + rest)


def frechet_distance(
  a: statistics.Gaussian, b: statistics.Gaussian
) -> float:
  """Squared Frechet (2-Wasserstein) distance of two Gaussians, equation (1).

  It is the squared distance that goes by the name of FID; its unit is that of
  the features squared. The estimate from N images each is too large by about
  c / N: compare figures of equal N only.

  Args:
    a: mean [d] and covariance [d, d], symmetric and positive semi-definite;
      singular is fine.
    b: the other one; (1) is symmetric in a and b.

  Raises:
    DataError: the shapes do not fit each other, or an entry is not finite.
  """
  for gaussian in (a, b):
    shapes = np.shape(gaussian.mean), np.shape(gaussian.covariance)
    d = np.size(a.mean)
    if shapes != ((d,), (d, d)):
      raise errors.DataError(
        f'statistics have the shapes {shapes}: expected {((d,), (d, d))}'
      )
    if not all(np.isfinite(part).all() for part in gaussian):
      raise errors.DataError('statistics hold NaN or infinity: make them anew')
  gap = np.asarray(a.mean, np.float64) - b.mean
  f, g = _factor(a.covariance), _factor(b.covariance)
  traces = np.trace(a.covariance) + np.trace(b.covariance)
  spread = traces - 2 * np.linalg.svd(f.T @ g, compute_uv=False).sum()
  if spread < _CLOSE * traces:
    spread = _gap(f, g)
  return float(gap @ gap + spread)
