"""A network that is exact becomes a denoiser that is exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes
from difjax.denoising import denoiser, targets
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Mixture()


def exact(process, target, inputs):
  """A network that undoes its inputs, then puts out the exact target."""

  def network(x, noise):
    c_in, _ = inputs(process, noise)
    x = x / c_in[:, None]
    pair = DATA.denoiser(process)(x, noise)
    return targets.value(target, process, pair.x0, pair.eps, noise)

  return network


def test_exact_network(process, target):
  inputs = denoising.InputMap(
    scale=denoising.UnitVariance(), noise=denoising.Linear(factor=1.0)
  )
  t = jnp.linspace(process.t_min, process.t_max, 7)[1:-1]
  x = 2 * jax.random.normal(jax.random.key(0), (5, 2))
  network = exact(process, target, inputs)
  got = denoiser.of_network(network, process, target, inputs)(x, t)
  wanted = DATA.denoiser(process)(x, t)
  np.testing.assert_allclose(got.x0, wanted.x0, rtol=1e-8, atol=1e-9)
  np.testing.assert_allclose(got.eps, wanted.eps, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize('t', [0.5, np.float64(0.5), np.full(3, 0.5)])
def test_network_sees_a_batch_of_times_and_scaled_images(t):
  process = processes.EDM()
  seen = []

  def network(x, noise):
    seen.append((x, noise))
    return x

  inputs = denoising.InputMap(
    scale=denoising.UnitVariance(data_std=1.0),
    noise=denoising.Linear(factor=10.0, offset=1.0),
  )
  x = jnp.ones((3, 2, 2, 1))
  denoiser.of_network(network, process, denoising.Data(), inputs)(x, t)
  ((x_seen, noise),) = seen
  np.testing.assert_allclose(noise, [6.0, 6.0, 6.0])
  np.testing.assert_allclose(x_seen, x / np.sqrt(1.25), rtol=1e-12)


def test_data_network_is_passed_through():
  denoise = denoiser.of_network(
    lambda x, noise: 0 * x + 0.25, processes.EDM(), denoising.Data(),
    denoising.InputMap(),
  )  # fmt: skip
  pair = denoise(jnp.ones((2, 3)), 0.5)
  np.testing.assert_allclose(pair.x0, np.full((2, 3), 0.25), rtol=1e-15)
  np.testing.assert_allclose(pair.eps, np.full((2, 3), 1.5), rtol=1e-14)


