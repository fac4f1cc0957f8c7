"""Shifted and rescaled processes against the formulas of their papers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from difjax import processes

pytestmark = pytest.mark.usefixtures('x64')
T = np.linspace(0.05, 0.95, 10)
FLOW = processes.RectifiedFlow()


@pytest.mark.parametrize('k', [0.25, 3.0])
def test_shifted_flow(k):
  # Esser et al. 2024, equation 23: sigma at t is k t / (1 + (k - 1) t).
  shifted = processes.Shifted(process=FLOW, factor=k)
  np.testing.assert_allclose(
    shifted.sigma(T), k * T / (1 + (k - 1) * T), rtol=1e-13
  )
  np.testing.assert_allclose(
    shifted.alpha(T), (1 - T) / (1 + (k - 1) * T), rtol=1e-13
  )


def test_shift_multiplies_the_noise(smooth):
  # Hoogeboom et al. 2023, equation 4: SNR(t) is divided by k^2 at every t.
  shifted = processes.Shifted(process=smooth, factor=0.25)
  t = np.linspace(shifted.t_min, shifted.t_max, 10)
  ratio = lambda p: np.asarray(p.sigma(t)) / np.asarray(p.alpha(t))
  np.testing.assert_allclose(ratio(shifted), ratio(smooth) / 4, rtol=1e-9)


def test_shift_keeps_the_range_of_noise(smooth):
  shifted = processes.Shifted(process=smooth, factor=0.25)
  for end in ('t_min', 't_max'):
    np.testing.assert_allclose(
      shifted.logsnr(getattr(shifted, end)),
      smooth.logsnr(getattr(smooth, end)), rtol=1e-9,
    )  # fmt: skip


def test_shift_by_one_changes_nothing():
  shifted = processes.Shifted(process=FLOW, factor=1.0)
  np.testing.assert_allclose(shifted.sigma(T), FLOW.sigma(T), rtol=1e-13)
  assert shifted.t_max == pytest.approx(FLOW.t_max, rel=1e-12)


def test_shifts_multiply():
  once = processes.Shifted(process=FLOW, factor=6.0)
  twice = processes.Shifted(
    process=processes.Shifted(process=FLOW, factor=2.0), factor=3.0
  )
  np.testing.assert_allclose(twice.sigma(T), once.sigma(T), rtol=1e-12)


def test_given_ends_are_kept():
  shifted = processes.Shifted(process=FLOW, factor=3.0, t_min=0.1, t_max=0.9)
  assert (shifted.t_min, shifted.t_max) == (0.1, 0.9)


@pytest.mark.parametrize('factor', [0.0, -1.0, float('nan')])
def test_factors_that_are_no_shift_are_refused(factor):
  with pytest.raises(ValueError, match='factor must be above 0'):
    processes.Shifted(process=FLOW, factor=factor)


def test_rescaled_has_unit_variance_on_data(smooth):
  d = 0.5
  rescaled = processes.Rescaled(process=smooth, data_std=d)
  t = np.linspace(smooth.t_min, smooth.t_max, 10)
  alpha, sigma = map(np.asarray, (rescaled.alpha(t), rescaled.sigma(t)))
  np.testing.assert_allclose((alpha * d) ** 2 + sigma**2, 1, rtol=1e-12)
  np.testing.assert_allclose(
    sigma / alpha,
    np.asarray(smooth.sigma(t)) / np.asarray(smooth.alpha(t)),
    rtol=1e-12,
  )


def test_rescaled_ve_is_variance_preserving():
  # alpha^2 = 1 / (1 + sigma^2), as in Karras et al. 2022, table 1 (VP's s(t)).
  rescaled = processes.Rescaled(process=processes.EDM())
  sigma = np.asarray([0.1, 1.0, 10.0])
  np.testing.assert_allclose(
    rescaled.alpha(sigma), 1 / np.sqrt(1 + sigma**2), rtol=1e-14
  )


def test_precision_of_the_day_does_not_change_a_process():
  build = lambda: processes.Shifted(process=processes.Cosine(), factor=2.0)
  double = build()
  with jax.enable_x64(False):
    assert build() == double
