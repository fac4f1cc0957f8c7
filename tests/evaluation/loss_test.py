"""The loss by level of the exact network, against its closed form."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from difjax import denoising, objectives, processes
from difjax.evaluation import loss
from tests import analytic, tiny

LAW = analytic.Gaussian()


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


@pytest.mark.parametrize('process', [processes.VP(), processes.Cosine()])
def test_the_exact_network_reaches_the_least_loss(process):
  """E |eps - E[eps | x]|^2 = alpha^2 s^2 / (alpha^2 s^2 + sigma^2)."""
  objective, params = tiny.exact_noise(process)
  rng = np.random.default_rng(0)
  images = LAW.mean + LAW.std * rng.standard_normal((64, 16, 16, 3))
  batch = {'image': images.astype(np.float32)}
  logsnr, found = loss.by_level(objective, params, batch, levels=6)
  snr = np.exp(logsnr.astype(np.float64)) * LAW.std**2
  # 49,152 squared normal numbers: the relative standard error is 0.64 %.
  np.testing.assert_allclose(found, snr / (1 + snr), rtol=0.03)
  # The levels are even quantiles of the times that were trained on.
  u = (np.arange(6) + 0.5) / 6
  times = process.t_min + u * (process.t_max - process.t_min)
  levels = process.logsnr(jnp.asarray(times))
  np.testing.assert_allclose(logsnr, levels, rtol=1e-5)
  # And the noise is that of a seed.
  by_seed = lambda seed: loss.by_level(
    objective, params, batch, levels=6, seed=seed
  )[1]
  np.testing.assert_array_equal(by_seed(0), found)
  assert (by_seed(1) != found).all()


def test_bytes_are_scaled_and_labels_reach_the_network():
  class Peeking(nn.Module):
    """Returns the label: the error of zero data is then known."""

    @nn.compact
    def __call__(self, x, noise, cond=None, *, train=False):
      return jnp.broadcast_to(cond['label'][:, None, None, None] * 1.0, x.shape)

  objective = objectives.Denoising(
    process=processes.EDM(), target=denoising.Data(), network=Peeking()
  )
  batch = {
    'image': np.full((2, 4, 4, 1), 255, np.uint8), 'label': np.array([3, 1])
  }  # fmt: skip
  _, found = loss.by_level(objective, {}, batch, levels=2)
  np.testing.assert_allclose(found, (2**2 + 0) / 2, rtol=1e-4)
