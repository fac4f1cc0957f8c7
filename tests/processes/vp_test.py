"""VP, sub-VP and cosine against their papers and the official score SDEs."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import processes
from tests.processes import official

pytestmark = pytest.mark.usefixtures('x64')
T = np.linspace(0.01, 1, 12)


def beta_integral(t):
  return 0.1 * t + 0.5 * (20 - 0.1) * t**2


def test_vp_marginal():
  # Song et al. 2021, equation 33.
  vp = processes.VP()
  decay = np.exp(-beta_integral(T))
  np.testing.assert_allclose(vp.alpha(T), np.sqrt(decay), rtol=1e-13)
  np.testing.assert_allclose(vp.sigma(T), np.sqrt(1 - decay), rtol=1e-13)


def test_subvp_marginal_and_diffusion():
  # Song et al. 2021, equations 28 and 29: beta and its integral from 0.
  subvp = processes.SubVP()
  integral, beta = beta_integral(T), 0.1 + T * 19.9
  np.testing.assert_allclose(subvp.sigma(T), 1 - np.exp(-integral), rtol=1e-12)
  np.testing.assert_allclose(
    subvp.diffusion2(T), beta * (1 - np.exp(-2 * integral)), rtol=1e-12
  )


def test_subvp_has_less_noise_than_vp():
  assert np.all(processes.SubVP().sigma(T) < processes.VP().sigma(T))


def test_cosine_is_the_unit_circle():
  # The limit of Nichol & Dhariwal's schedule for offset 0: alpha^2 = cos^2.
  cosine = processes.Cosine()
  np.testing.assert_allclose(cosine.alpha(0.5), np.sqrt(0.5), rtol=1e-15)
  np.testing.assert_allclose(cosine.alpha(1 / 3), np.sqrt(0.75), rtol=1e-15)
  np.testing.assert_allclose(cosine.sigma(1 / 3), 0.5, rtol=1e-15)


@pytest.mark.parametrize('t_max', [0.999, 0.9])
def test_alpha_at_the_noise_end_is_above_1e_3(t_max):
  # Design: the noise target's determinant, alpha, stays above 1e-3.
  cosine = processes.Cosine(t_max=t_max)
  assert cosine.alpha(cosine.t_max) > 1e-3


@pytest.mark.parametrize(
  ('name', 'process'), [('vp', processes.VP()), ('subvp', processes.SubVP())]
)
def test_official_sde(golden, name, process):
  official.check_sde(golden('scoresde_sdes'), name, process)


@pytest.mark.parametrize('ends', [(2.0, 1.0), (0.0, 1.0)])
def test_rates_that_do_not_fit_are_refused(ends):
  with pytest.raises(ValueError, match='beta_min <= beta_max'):
    processes.VP(beta_min=ends[0], beta_max=ends[1])
