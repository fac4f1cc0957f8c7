"""Bits per dimension against densities that are known."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import data, errors, evaluation, objectives, processes
from difjax.data import device
from difjax.evaluation import trained
from difjax.sampling import noise
from tests import analytic, tiny

DATA = analytic.Gaussian()
SOURCE = data.Synthetic(length=7, height=4, width=4, channels=1)


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


def model(process):
  """A model that is exact for `analytic.Gaussian`."""
  objective, params = tiny.exact_noise(process)
  return trained.Trained(
    objective=objective, params=params, shape=SOURCE.shape, num_classes=0,
    class_names=(), step=1, config={},
  )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Middle:
  """Noise that is none: the middle of each level, as if q were 2 there."""

  offset: float = 7.0

  def __call__(self, image, keys):
    """Returns the middles and log q."""
    x = (image.astype(jnp.float32) - 127.5) / 128
    return x, jnp.full(keys.shape, jnp.log(2.0))


def test_the_range_gives_the_offset():
  assert evaluation.UniformDequantiser().offset == 7
  assert evaluation.UniformDequantiser(low=0.0).offset == 8
  # 256 equal levels cost 8 bits, whatever the range: density 1 / (high - low).
  for low, high in ((-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0)):
    dequantiser = evaluation.UniformDequantiser(low=low, high=high)
    assert np.log2(high - low) + dequantiser.offset == 8


def test_uniform_noise_fills_the_interval_that_training_fills():
  image = np.broadcast_to(np.arange(256, dtype=np.uint8), (50, 256))
  keys = noise.image_keys(0, np.arange(50))
  x, log_q = evaluation.UniformDequantiser()(jnp.asarray(image), keys)
  trained_on = device.dequantise(jnp.asarray(image), jax.random.key(1))
  for values in (x, trained_on):
    u = (np.asarray(values, np.float64) + 1) * 128 - image
    assert u.min() >= 0 and u.max() <= 1
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
  assert not log_q.any()


def test_bits_of_gaussian_data():
  """By hand: (1), the exact flow, its determinant, (2)."""
  process = processes.VP()
  job = evaluation.Likelihood(
    source=SOURCE, size=4, dequantiser=Middle(), rtol=1e-6, atol=1e-6
  )
  found = job(model(process))
  images = SOURCE.take(np.arange(7))['image']
  x = jnp.asarray((images.astype(np.float32) - 127.5) / 128)
  ends = process.t_min, process.t_max
  latent = DATA.flow(process, x, *ends)
  stretch = [np.sqrt(DATA.marginal(process, t)[1]) for t in ends]
  logp = process.prior_logp(latent) + 16 * np.log(stretch[1] / stretch[0])
  exact = (np.log(2.0) - np.asarray(logp)) / (16 * np.log(2)) + 7
  bits = found.arrays['bits_per_dim']
  assert bits.shape == (1, 7)
  np.testing.assert_allclose(bits[0], exact, atol=2e-4)
  figures = found.figures
  assert figures['bits_per_dim'] == pytest.approx(np.mean(exact), abs=2e-4)
  error = np.std(exact, ddof=1) / np.sqrt(7)
  assert figures['error_over_images'] == pytest.approx(error, rel=1e-2)
  assert 'error_over_repeats' not in figures
  assert figures['images'] == 7
  evaluations = found.arrays['evaluations']
  assert figures['evaluations_max'] == evaluations.max() > 20


def test_figures_of_an_image_depend_on_seed_index_and_repeat_alone():
  job = evaluation.Likelihood(
    source=SOURCE, repeats=2, size=4, rtol=1e-3, atol=1e-3
  )
  exact = model(processes.VP())
  whole = job(exact)
  fewer = dataclasses.replace(job, images=3, size=4)(exact)
  bits = whole.arrays['bits_per_dim']
  np.testing.assert_allclose(
    fewer.arrays['bits_per_dim'], bits[:, :3], rtol=1e-5
  )
  assert np.abs(bits[0] - bits[1]).min() > 0
  means = bits.mean(axis=1)
  assert whole.figures['error_over_repeats'] == pytest.approx(
    np.abs(means[0] - means[1]) / 2
  )


def test_the_bound_of_a_model():
  """The parts of it are tested beside `objectives.bound`."""
  process = processes.LinearBetas(levels=5, beta_max=0.5)
  exact = model(process)
  job = evaluation.VariationalBound(source=SOURCE, size=4, clip=False)
  found = job(exact)
  images = SOURCE.take(np.arange(7))['image']
  keys = noise.image_keys(0, np.arange(7))
  keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 0)
  terms = objectives.bound.terms(
    DATA.denoiser(process), process, device.to_unit_range(jnp.asarray(images)),
    keys,
  )  # fmt: skip
  np.testing.assert_allclose(
    found.arrays['bits_per_dim'][0], terms.sum(axis=1), rtol=1e-4
  )
  assert found.figures['evaluations_mean'] == 5


def test_refusals():
  job = evaluation.VariationalBound(source=SOURCE)
  with pytest.raises(errors.ConfigError, match='VP has none'):
    job(model(processes.VP()))
  other = data.Synthetic(length=2, height=8, width=4, channels=1)
  job = evaluation.Likelihood(source=other)
  with pytest.raises(errors.ConfigError, match='images of'):
    job(model(processes.VP()))
  broken = dataclasses.replace(
    model(processes.VP()), params={'scale': jnp.asarray(jnp.nan)}
  )
  job = evaluation.Likelihood(source=SOURCE, size=4, rtol=1e-3, atol=1e-3)
  with pytest.raises(errors.NonFiniteError, match='image 0'):
    job(broken)
