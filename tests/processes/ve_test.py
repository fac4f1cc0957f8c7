"""VE and EDM against their papers and the official score SDEs."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import processes
from tests.processes import official

pytestmark = pytest.mark.usefixtures('x64')
T = np.linspace(0.01, 1, 12)


def test_ve_is_geometric():
  # Song et al. 2021, equations 30 and 31.
  ve = processes.VE(sigma_min=0.02, sigma_max=100)
  sigma = 0.02 * 5000**T
  np.testing.assert_allclose(ve.sigma(T), sigma, rtol=1e-13)
  np.testing.assert_allclose(
    ve.diffusion2(T), sigma**2 * 2 * np.log(5000), rtol=1e-12
  )
  np.testing.assert_array_equal(ve.alpha(T), np.ones_like(T))


def test_edm_time_is_noise():
  edm = processes.EDM()
  np.testing.assert_array_equal(edm.sigma(T), T)
  np.testing.assert_array_equal(edm.diffusion2(T), 2 * T)
  np.testing.assert_array_equal(edm.drift(T), 0 * T)


def test_brownian_time_is_the_variance():
  # x_t = x_0 + w_t: the steps of a Wiener process have variance t - s.
  brownian = processes.Brownian()
  np.testing.assert_allclose(brownian.sigma(T) ** 2, T, rtol=1e-13)
  np.testing.assert_array_equal(brownian.diffusion2(T), np.ones_like(T))
  a, b2 = brownian.transition(3.0, 1.0)
  assert (float(a), float(b2)) == pytest.approx((1, 2))
  assert brownian.prior_std() == 100


def test_priors():
  assert processes.EDM().prior_std() == 80
  assert processes.VE(sigma_max=50).prior_std() == pytest.approx(50, rel=1e-12)


def test_official_sde(golden):
  # The official data are in [0, 1]; the formulas do not know of that.
  ve = processes.VE(sigma_min=0.01, sigma_max=50)
  official.check_sde(golden('scoresde_sdes'), 've', ve)


@pytest.mark.parametrize('ends', [(2.0, 1.0), (0.0, 1.0), (1.0, 1.0)])
def test_levels_that_do_not_grow_are_refused(ends):
  with pytest.raises(ValueError, match='sigma_min < sigma_max'):
    processes.VE(sigma_min=ends[0], sigma_max=ends[1])
