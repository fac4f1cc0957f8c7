"""What published networks see of x and t."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import denoising, processes

pytestmark = pytest.mark.usefixtures('x64')


def test_edm():
  # Karras et al. 2022, table 1.
  sigma, d = np.geomspace(0.002, 80, 7), 0.5
  inputs = denoising.InputMap(
    scale=denoising.UnitVariance(data_std=d), noise=denoising.LogSigma()
  )
  c_in, c_noise = inputs(processes.EDM(), sigma)
  np.testing.assert_allclose(c_in, 1 / np.sqrt(sigma**2 + d**2), rtol=1e-13)
  np.testing.assert_allclose(c_noise, np.log(sigma) / 4, rtol=1e-12)


def test_continuous_vp():
  # score_sde: labels = t * 999 on x itself.
  t = np.asarray([1e-5, 0.5, 1.0])
  c_in, c_noise = denoising.InputMap()(processes.VP(), t)
  np.testing.assert_array_equal(c_in, np.ones(3))
  np.testing.assert_allclose(c_noise, [999e-5, 499.5, 999], rtol=1e-14)


def test_ve_for_data_in_unit_range():
  # score_sde: sigma of data in [0, 1], where it runs from 0.01 to 50.
  inputs = denoising.InputMap(noise=denoising.Sigma(unit=2.0))
  t = np.asarray([1e-5, 0.5, 1.0])
  official = 0.01 * 5000**t
  c_in, c_noise = inputs(processes.VE(sigma_min=0.02, sigma_max=100.0), t)
  np.testing.assert_array_equal(c_in, np.ones(3))
  np.testing.assert_allclose(c_noise, official, rtol=1e-12)


def test_index_of_a_table():
  process = processes.LinearBetas()
  inputs = denoising.InputMap(
    noise=denoising.Linear(factor=1000.0, offset=-1.0)
  )
  _, c_noise = inputs(process, process.time(np.asarray([0.0, 500, 999])))
  np.testing.assert_allclose(c_noise, [0, 500, 999], atol=1e-9)


def test_log_sigma_is_that_of_the_process_with_alpha_one():
  # Table 1's VP column: sigma of x / alpha.
  vp, t = processes.VP(), np.asarray([0.1, 0.9])
  ratio = np.asarray(vp.sigma(t)) / np.asarray(vp.alpha(t))
  _, c_noise = denoising.InputMap(noise=denoising.LogSigma())(vp, t)
  np.testing.assert_allclose(c_noise, np.log(ratio) / 4, rtol=1e-11)


def test_unit_variance(process):
  # Var(c_in x) = 1 for data of standard deviation d, at every time.
  t = np.linspace(process.t_min, process.t_max, 9)
  c = np.asarray(denoising.UnitVariance(data_std=0.3)(process, t))
  alpha, sigma = np.asarray(process.alpha(t)), np.asarray(process.sigma(t))
  np.testing.assert_allclose(
    c**2 * ((0.3 * alpha) ** 2 + sigma**2), 1, rtol=1e-12
  )


def test_the_time_of_another_process():
  # Karras et al. 2022, table 1: VP's t as a function of sigma.
  sigma, slope, low = np.geomspace(0.01, 100, 7), 19.9, 0.1
  root = np.sqrt(low**2 + 2 * slope * np.log1p(sigma**2))
  noise = denoising.TimeOf(process=processes.VP(), factor=999.0)
  c_noise = noise(processes.EDM(), sigma)
  np.testing.assert_allclose(c_noise, 999 * (root - low) / slope, rtol=1e-9)


def test_the_nearest_level():
  # By search through the cosine's levels, and a last one without noise.
  n, s, most = 100, 0.008, 0.999
  h = np.cos((np.arange(n + 1) / n + s) / (1 + s) * np.pi / 2) ** 2
  alpha2 = np.cumprod(1 - np.minimum(1 - h[1:] / h[:-1], most))
  levels = np.concatenate([[0], np.sqrt(1 / alpha2 - 1)])
  table = processes.CosineBetas(levels=n, offset=s, beta_max=most)
  sigma = np.concatenate([levels[1:], np.geomspace(1e-3, 500, 97)])
  expected = abs(sigma[:, None] - levels).argmin(1) - 1
  c_noise = denoising.NearestLevel(process=table)(processes.EDM(), sigma)
  np.testing.assert_array_equal(c_noise, expected)
  assert {-1, 0, n - 1} <= set(expected)
