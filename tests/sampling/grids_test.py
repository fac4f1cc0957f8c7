"""Time grids against their papers' formulas."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from difjax import processes, sampling

GRIDS = {
  'uniform': sampling.Uniform(steps=18),
  'quadratic': sampling.Quadratic(steps=18),
  'logsnr': sampling.LogSNR(steps=18),
  'karras': sampling.Karras(steps=18),
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


def test_all_levels_are_ddpm():
  process = processes.LinearBetas()
  times = sampling.Levels(steps=1000)(process)
  np.testing.assert_allclose(times, np.arange(1000, 0, -1) / 1000, rtol=1e-15)


def test_some_levels_are_levels():
  process = processes.LinearBetas(levels=10)
  times = sampling.Levels(steps=4)(process)
  np.testing.assert_allclose(times, [1.0, 0.7, 0.4, 0.1], rtol=1e-15)


def test_one_step_starts_at_the_noise_end():
  np.testing.assert_array_equal(
    sampling.Uniform(steps=1)(processes.EDM()), [80.0]
  )


@pytest.mark.parametrize('steps', [0, -5])
def test_no_steps_are_refused(steps):
  with pytest.raises(ValueError, match='steps must be at least 1'):
    sampling.Uniform(steps=steps)
