"""Every target on every process, and the table of determinants."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes
from difjax.denoising import targets

pytestmark = pytest.mark.usefixtures('x64')


def times(process, n=12):
  ends = process.t_min, process.t_max
  return np.union1d(np.linspace(*ends, n), np.geomspace(*ends, n)[1:-1])


def pairs(process):
  t = times(process)
  x0, eps = np.random.default_rng(0).normal(size=(2, len(t), 5))
  return x0, eps, t


def marginal(process, t):
  return np.asarray(process.alpha(t)), np.asarray(process.sigma(t))


def test_round_trip(process, target):
  x0, eps, t = pairs(process)
  x = process.perturb(x0, eps, t)
  y = targets.value(target, process, x0, eps, t)
  pair = targets.invert(target, process, y, x, t)
  # Or one rounding of x, where that is more: sub-VP's sigma(1e-5) is 1e-6.
  rounding = np.spacing(np.abs(np.asarray(x)))
  alpha, sigma = (v[:, None] for v in marginal(process, t))
  for got, exact, scale in ((pair.x0, x0, alpha), (pair.eps, eps, sigma)):
    error = np.abs(np.asarray(got) - exact)
    assert np.all(error <= np.maximum(1e-10, rounding / scale))
  assert pair.spread is None


def test_inverse_explains_x(process, target):
  # Whatever a network puts out, its pair is a decomposition of x.
  y, x, t = pairs(process)
  pair = targets.invert(target, process, y, x, t)
  size = np.abs(np.asarray(process.perturb(*map(jnp.abs, pair[:2]), t)))
  error = np.asarray(process.perturb(pair.x0, pair.eps, t)) - x
  assert np.all(np.abs(error) <= 1e-13 * (1 + size))


def test_error_is_proportional(process, target):
  # dy = -(D / sigma) dx_0 = (D / alpha) deps: what converts loss weights.
  y, x, t = pairs(process)
  dy = np.random.default_rng(1).normal(size=y.shape)
  before = targets.invert(target, process, y, x, t)
  after = targets.invert(target, process, y + dy, x, t)
  alpha, sigma = (v[:, None] for v in marginal(process, t))
  d = np.asarray(targets.determinant(target, process, t))[:, None]
  dx0 = np.asarray(after.x0 - before.x0)
  deps = np.asarray(after.eps - before.eps)
  scale = np.abs(np.asarray(before.x0)) + np.abs(dx0) + np.abs(x / alpha)
  assert np.all(np.abs(dx0 + sigma / d * dy) <= 1e-13 * scale)
  scale = np.abs(np.asarray(before.eps)) + np.abs(deps) + np.abs(x / sigma)
  assert np.all(np.abs(deps - alpha / d * dy) <= 1e-13 * scale)


def slopes(process, t):
  # alpha' = f alpha, and sigma' from (sigma^2)' = 2 f sigma^2 + g^2.
  alpha, sigma = marginal(process, t)
  drift, g2 = np.asarray(process.drift(t)), np.asarray(process.diffusion2(t))
  return drift * alpha, drift * sigma + g2 / (2 * sigma)


@pytest.mark.parametrize(
  ('target', 'expected'),
  [
    (denoising.Noise(), lambda a, s, da, ds: a),
    (denoising.Data(), lambda a, s, da, ds: -s),
    (denoising.Score(), lambda a, s, da, ds: -a / s),
    (denoising.Score(unit=2.0), lambda a, s, da, ds: -2 * a / s),
    (denoising.V(), lambda a, s, da, ds: a**2 + s**2),
    (denoising.Velocity(), lambda a, s, da, ds: a * ds - s * da),
    (
      denoising.Preconditioned(data_std=0.7),
      lambda a, s, da, ds: -np.sqrt((0.7 * a) ** 2 + s**2) / 0.7,
    ),
  ],
)
def test_determinant_is_the_table(process, target, expected):
  t = times(process)
  np.testing.assert_allclose(
    targets.determinant(target, process, t),
    expected(*marginal(process, t), *slopes(process, t)), rtol=1e-9,
  )  # fmt: skip


def test_preconditioned_is_edm():
  # Karras et al. 2022, table 1: D = c_skip x + c_out F.
  d, sigma = 0.5, np.geomspace(0.002, 80, 9)
  f, x = np.random.default_rng(0).normal(size=(2, 9, 3))
  c_skip = d**2 / (sigma**2 + d**2)
  c_out = sigma * d / np.sqrt(sigma**2 + d**2)
  pair = targets.invert(
    denoising.Preconditioned(data_std=d), processes.EDM(), f, x, sigma
  )
  np.testing.assert_allclose(
    pair.x0, c_skip[:, None] * x + c_out[:, None] * f, rtol=1e-11, atol=1e-13
  )


def test_consistency_leaves_x_alone_at_the_least_noise():
  # Song et al. 2023, appendix C, with n for n - m below c_out as in the code.
  d, m, sigma = 0.5, 0.002, np.geomspace(0.002, 80, 9)
  f, x = np.random.default_rng(0).normal(size=(2, 9, 3))
  c_skip = d**2 / ((sigma - m) ** 2 + d**2)
  c_out = (sigma - m) * d / np.sqrt(sigma**2 + d**2)
  pair = targets.invert(
    denoising.Consistency(data_std=d, sigma_min=m), processes.EDM(), f, x, sigma
  )
  np.testing.assert_allclose(
    pair.x0, c_skip[:, None] * x + c_out[:, None] * f, rtol=1e-11, atol=1e-11
  )
  np.testing.assert_allclose(pair.x0[0], x[0], rtol=1e-11)


def test_preconditioned_output_has_unit_variance(process):
  # For data of variance d^2: a^2 d^2 + b^2 = 1 at every time.
  target, t = denoising.Preconditioned(data_std=0.7), times(process)
  a, b = map(np.asarray, target.coefficients(process, t))
  np.testing.assert_allclose((a * 0.7) ** 2 + b**2, 1, rtol=1e-12)


def test_v_is_salimans_and_ho():
  # v = alpha eps - sigma x_0; on the unit circle x_0 = alpha x - sigma v.
  x0, eps = np.random.default_rng(0).normal(size=(2, 1, 4))
  cosine, t = processes.Cosine(), np.asarray([0.3])
  alpha, sigma = np.cos(0.15 * np.pi), np.sin(0.15 * np.pi)
  v = targets.value(denoising.V(), cosine, x0, eps, t)
  np.testing.assert_allclose(v, alpha * eps - sigma * x0, rtol=1e-12)
  np.testing.assert_allclose(
    alpha * (alpha * x0 + sigma * eps) - sigma * np.asarray(v), x0, rtol=1e-12
  )


def test_defaults_are_well_posed(process, target):
  targets.check(target, process)


@pytest.mark.parametrize(
  ('target', 'process', 'words'),
  [
    (
      denoising.Noise(), processes.RectifiedFlow(t_max=1.0),
      ['Noise', 't_max = 1 ', 'RectifiedFlow', 'move t_max', 'such as V'],
    ),
    (
      denoising.Data(), processes.EDM(t_min=9e-7),
      ['Data', 't_min = 9e-07 ', 'EDM', 'move t_min', 'such as V'],
    ),
    (
      denoising.Noise(), processes.VP(beta_max=1e5),
      ['Noise', 't_max = 1 ', 'VP', 'move t_max', 'such as V'],
    ),
  ],
)  # fmt: skip
def test_singular_targets_are_refused(target, process, words):
  with pytest.raises(ValueError) as error:
    targets.check(target, process)
  assert '\n' not in str(error.value)
  for word in words:
    assert word in str(error.value)


def test_the_limit_is_1e_6():
  targets.check(denoising.Data(), processes.EDM(t_min=1.01e-6))
  with pytest.raises(ValueError, match='singular'):
    targets.check(denoising.Data(), processes.EDM(t_min=0.99e-6))


def test_v_has_no_singular_end():
  targets.check(denoising.V(), processes.RectifiedFlow(t_min=1e-9, t_max=1.0))
