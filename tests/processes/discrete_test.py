"""Tabulated processes against the published tables, at their indices."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import processes

pytestmark = pytest.mark.usefixtures('x64')
INDEX = np.arange(1000.0)


def alphas_cumprod(process):
  return np.asarray(process.alpha(process.time(INDEX))) ** 2


def test_linear_betas_are_ddpm():
  # Ho et al. 2020, section 4: beta from 1e-4 to 0.02 in a thousand steps.
  table = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
  process = processes.LinearBetas()
  np.testing.assert_allclose(alphas_cumprod(process), table, rtol=1e-11)
  np.testing.assert_allclose(
    process.sigma(process.time(INDEX)), np.sqrt(1 - table), rtol=1e-11
  )


def test_cosine_betas_are_improved_ddpm():
  # Nichol & Dhariwal 2021, equation 17; betas are clipped to 0.999.
  f = lambda i: np.cos((i / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
  betas = np.minimum(1 - f(INDEX + 1) / f(INDEX), 0.999)
  process = processes.CosineBetas()
  np.testing.assert_allclose(
    alphas_cumprod(process), np.cumprod(1 - betas), rtol=1e-10
  )
  # Away from the cap the product telescopes: f(i + 1) / f(0).
  np.testing.assert_allclose(
    alphas_cumprod(process)[:999], (f(INDEX + 1) / f(0))[:999], rtol=1e-9
  )


def test_ladder_is_ncsn():
  # Song & Ermon 2020: a geometric sequence, here from the lowest level up.
  process = processes.Ladder(levels=232, sigma_min=0.02, sigma_max=100)
  sigma = np.asarray(process.sigma(process.time(np.arange(232.0))))
  np.testing.assert_allclose(sigma, np.geomspace(0.02, 100, 232), rtol=1e-12)


def test_index_and_time_go_round(tabulated):
  index = np.arange(tabulated.levels)
  time = tabulated.time(index)
  np.testing.assert_array_equal(tabulated.index(time), index)
  np.testing.assert_array_equal(
    tabulated.index(np.asarray(time, np.float32)), index
  )
  assert float(time[0]) == pytest.approx(tabulated.t_min, rel=1e-6)
  assert float(time[-1]) == tabulated.t_max


def test_index_is_that_of_the_nearest_level():
  process = processes.LinearBetas(levels=10)
  index = process.index(np.asarray([0.1, 0.14, 0.16, 0.5, 0.96, 1.0]))
  np.testing.assert_array_equal(index, [0, 0, 1, 4, 9, 9])


def test_between_levels_logsnr_is_linear(tabulated):
  time = np.asarray(tabulated.time(np.arange(1.0 * tabulated.levels)))
  table = np.asarray(tabulated.logsnr(time))
  middle = tabulated.logsnr((time[:-1] + time[1:]) / 2)
  np.testing.assert_allclose(middle, (table[:-1] + table[1:]) / 2, atol=1e-10)


def test_slopes_in_float32(tabulated):
  # Between levels, where the slope is one number on both sides of rounding.
  t = (np.arange(tabulated.levels - 1) + 1.5) / tabulated.levels
  for function in (tabulated.drift, tabulated.diffusion2):
    np.testing.assert_allclose(
      function(t.astype(np.float32)), function(t), rtol=1e-4
    )


def test_transition_between_levels_is_beta():
  # Between neighbours q(x_i | x_{i-1}) has variance beta_i and scale
  # sqrt(1 - beta_i), which is where the table comes from.
  process = processes.LinearBetas()
  betas = np.linspace(1e-4, 0.02, 1000)
  time = np.asarray(process.time(INDEX))
  a, b2 = process.transition(time[1:], time[:-1])
  np.testing.assert_allclose(b2, betas[1:], rtol=1e-9)
  np.testing.assert_allclose(a, np.sqrt(1 - betas[1:]), rtol=1e-12)


def test_posterior_variance_is_beta_tilde():
  # Ho et al. 2020, equation 7.
  process = processes.LinearBetas()
  betas = np.linspace(1e-4, 0.02, 1000)
  table = np.cumprod(1 - betas)
  time = np.asarray(process.time(INDEX))
  x = np.zeros((999, 1))
  _, variance = process.posterior(x, x, time[1:], time[:-1])
  exact = (1 - table[:-1]) / (1 - table[1:]) * betas[1:]
  np.testing.assert_allclose(variance, exact, rtol=1e-9)


def test_official_vp_table(golden):
  recorded = golden('scoresde_sdes')
  np.testing.assert_allclose(
    alphas_cumprod(processes.LinearBetas()),
    recorded['vp_N1000_alphas_cumprod__f64'], rtol=1e-11,
  )  # fmt: skip


def test_official_ve_table(golden):
  recorded = golden('scoresde_sdes')['ve_N1000_discrete_sigmas__f64']
  process = processes.Ladder(sigma_min=0.01, sigma_max=50)
  np.testing.assert_allclose(
    process.sigma(process.time(INDEX)), recorded, rtol=1e-11
  )


@pytest.mark.parametrize(
  ('case', 'process'),
  [
    ('ddpm_large', processes.LinearBetas()),
    ('ddim_cos', processes.CosineBetas()),
  ],
)
def test_official_diffusers_tables(golden, case, process):
  # The first two, the middle and the last two of a table that diffusers keeps
  # in float32: products of a thousand roundings.
  recorded = golden('diffusers_schedulers')
  ours = alphas_cumprod(process)[[0, 1, 500, 998, 999]]
  np.testing.assert_allclose(
    ours, recorded[f'{case}__alphas_cumprod_first_last'], rtol=2e-5
  )


def test_official_spaced_betas(golden):
  # DiT samples on ten of the thousand levels, with betas between those.
  recorded = golden('dit')
  process = processes.LinearBetas()
  time = process.time(recorded['sample_timestep_map'].astype(np.float64))
  _, b2 = process.transition(np.asarray(time[1:]), np.asarray(time[:-1]))
  np.testing.assert_allclose(b2, recorded['sample_betas_spaced'][1:], rtol=1e-9)


@pytest.mark.parametrize('levels', [1, 0, -3])
def test_too_few_levels_are_refused(levels):
  with pytest.raises(ValueError, match='levels must be at least 2'):
    processes.LinearBetas(levels=levels)
