"""Time grids against their papers' formulas."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.stats

from difjax import processes, sampling

GRIDS = {
  'uniform': sampling.Uniform(steps=18),
  'quadratic': sampling.Quadratic(steps=18),
  'logsnr': sampling.LogSNR(steps=18),
  'karras': sampling.Karras(steps=18),
  'beta': sampling.Beta(steps=18),
  'polyexponential': sampling.Polyexponential(steps=18, rho=2.0),
}


@pytest.mark.parametrize('name', GRIDS)
def test_ends_and_order(process, name):
  times = GRIDS[name](process)
  assert isinstance(times, np.ndarray)
  assert times.dtype == np.float64
  assert times.shape == (18,)
  assert np.all(np.diff(times) < 0)
  np.testing.assert_allclose(
    times[[0, -1]], [process.t_max, process.t_min], rtol=1e-9
  )


@pytest.mark.parametrize('name', GRIDS)
def test_precision_of_the_day_does_not_change_a_grid(process, name):
  with jax.enable_x64(True):
    double = GRIDS[name](process)
  np.testing.assert_array_equal(GRIDS[name](process), double)


def test_uniform_and_quadratic():
  vp = processes.VP(t_min=0.01, t_max=1.0)
  np.testing.assert_allclose(
    sampling.Uniform(steps=4)(vp), [1, 0.67, 0.34, 0.01], rtol=1e-12
  )
  np.testing.assert_allclose(
    sampling.Quadratic(steps=4)(vp), [1, 0.49, 0.16, 0.01], rtol=1e-12
  )


def test_karras_is_edm():
  # Karras et al. 2022, equation 5, with their numbers.
  i = np.arange(18)
  high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
  exact = (high + i / 17 * (low - high)) ** 7
  grid = sampling.Karras(steps=18, rho=7.0)
  np.testing.assert_allclose(grid(processes.EDM()), exact, rtol=1e-9)
  # Their table 1: the second time of 18 steps, computed once by hand.
  assert grid(processes.EDM())[1] == pytest.approx(57.58598, rel=1e-5)


def test_karras_on_another_process_is_the_same_noise(smooth):
  grid = sampling.Karras(steps=10, rho=3.0, sigma_min=0.1, sigma_max=5.0)
  with jax.enable_x64(True):
    ratio = np.exp(-0.5 * np.asarray(smooth.logsnr(grid(smooth))))
  u = np.arange(10) / 9
  exact = (5 ** (1 / 3) + u * (0.1 ** (1 / 3) - 5 ** (1 / 3))) ** 3
  np.testing.assert_allclose(ratio, exact, rtol=1e-9)


def test_logsnr_is_uniform(process):
  with jax.enable_x64(True):
    logsnr = np.asarray(process.logsnr(GRIDS['logsnr'](process)))
  steps = np.diff(logsnr)
  np.testing.assert_allclose(steps, steps.mean(), rtol=1e-8)


def test_logsnr_grid_of_dpm_solver():
  # Lu et al. 2022, appendix D: the inverse of lambda for linear beta.
  vp = processes.VP(t_min=1e-3)
  half = lambda t: -0.5 * np.log(np.expm1(0.1 * t + 0.5 * 19.9 * t**2))
  level = np.linspace(half(1.0), half(1e-3), 7)
  root = np.sqrt(0.1**2 + 2 * 19.9 * np.log1p(np.exp(-2 * level)))
  np.testing.assert_allclose(
    sampling.LogSNR(steps=7)(vp), (root - 0.1) / 19.9, rtol=1e-9
  )


def test_table_is_itself():
  times = sampling.Table(times=(0.9, 0.5, 0.1))(processes.VP())
  np.testing.assert_array_equal(times, [0.9, 0.5, 0.1])
  assert times.dtype == np.float64


def test_polyexponential_is_a_power_in_log_sigma():
  grid = sampling.Polyexponential(
    steps=5, rho=2.0, sigma_min=0.01, sigma_max=10.0
  )
  share = np.asarray([1, 9 / 16, 1 / 4, 1 / 16, 0])
  exact = 10.0 ** (3 * share - 2)
  np.testing.assert_allclose(grid(processes.EDM()), exact, rtol=1e-9)
  plain = sampling.Polyexponential(steps=5)(processes.EDM())
  np.testing.assert_allclose(
    plain, sampling.LogSNR(steps=5)(processes.EDM()), rtol=1e-9
  )


def test_beta_is_the_quantiles():
  # scipy states the same law; Lee et al. 2024 take a = b = 0.6.
  grid, vp = sampling.Beta(steps=6), processes.VP(t_min=0.1)
  share = scipy.stats.beta(0.6, 0.6).ppf(np.linspace(1, 0, 6))
  np.testing.assert_allclose(grid(vp), 0.1 + 0.9 * share, rtol=1e-9)
  # Beta(1, 1) is the uniform law, Beta(1/2, 1) that of a square.
  np.testing.assert_allclose(
    sampling.Beta(steps=6, a=1.0, b=1.0)(vp),
    sampling.Uniform(steps=6)(vp), rtol=1e-12,
  )  # fmt: skip
  squares = 0.1 + 0.9 * np.linspace(1, 0, 6) ** 2
  np.testing.assert_allclose(
    sampling.Beta(steps=6, a=0.5, b=1.0)(vp), squares, rtol=1e-9
  )


def test_time_shift_is_that_of_stable_diffusion_3():
  # Esser et al. 2024, equation 23, by hand for k = 3.
  flow = processes.RectifiedFlow(t_min=0.1, t_max=1.0)
  grid = sampling.TimeShift(grid=sampling.Uniform(steps=4), factor=3.0)
  exact = [1.0, 2.1 / 2.4, 1.2 / 1.8, 0.3 / 1.2]
  np.testing.assert_allclose(grid(flow), exact, rtol=1e-12)


def test_a_matched_grid_has_the_other_noise(smooth):
  # EDM's "vp" discretisation: sigma = sqrt(exp(19.9 t^2 / 2 + 0.1 t) - 1).
  other = processes.VP(t_min=1e-3)
  grid = sampling.Matched(process=other, grid=sampling.Uniform(steps=9))
  t = np.linspace(1, 1e-3, 9)[1:-1]
  exact = np.sqrt(np.expm1(19.9 / 2 * t**2 + 0.1 * t))
  inside = grid(smooth)[1:-1]
  with jax.enable_x64(True):
    ratio = np.exp(-0.5 * np.asarray(smooth.logsnr(inside)))
  np.testing.assert_allclose(ratio, exact, rtol=1e-8)


def test_picked_times():
  grid = sampling.Picked(grid=sampling.Karras(steps=40), indices=(0, 22, 39))
  edm = processes.EDM()
  np.testing.assert_array_equal(
    grid(edm), sampling.Karras(steps=40)(edm)[[0, 22, 39]]
  )


def test_one_step_starts_at_the_noise_end():
  np.testing.assert_array_equal(
    sampling.Uniform(steps=1)(processes.EDM()), [80.0]
  )


@pytest.mark.parametrize('steps', [0, -5])
def test_no_steps_are_refused(steps):
  with pytest.raises(ValueError, match='steps must be at least 1'):
    sampling.Uniform(steps=steps)
