"""Rectified flow: the straight line."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes

pytestmark = pytest.mark.usefixtures('x64')


def test_line():
  # Liu et al. 2023, equation 1, with data at 0: x_t = (1 - t) x_0 + t eps.
  x0, eps = np.random.default_rng(0).normal(size=(2, 3, 4))
  t = jnp.asarray([0.25, 0.5, 0.75])
  flow = processes.RectifiedFlow()
  x = flow.perturb(x0, eps, t)
  np.testing.assert_allclose(x[0], 0.75 * x0[0] + 0.25 * eps[0], rtol=1e-14)
  np.testing.assert_allclose(x[1], (x0[1] + eps[1]) / 2, rtol=1e-14)
  velocity = denoising.velocity(denoising.Prediction(x0, eps), flow, t)
  np.testing.assert_allclose(velocity, eps - x0, rtol=1e-14)


def test_sde_of_the_line():
  # f = -1 / (1 - t) and g^2 = 2 t / (1 - t): at a half, -2 and 2.
  flow = processes.RectifiedFlow()
  assert float(flow.drift(0.5)) == -2
  assert float(flow.diffusion2(0.5)) == 2
  assert float(flow.logsnr(0.5)) == 0
