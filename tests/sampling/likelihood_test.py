"""Likelihood and latents against densities and maps that are known exactly."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes
from difjax.sampling import likelihood, noise
from difjax.sampling.samplers import counted
from tests import analytic
from tests.sampling import selected

pytestmark = pytest.mark.usefixtures('x64')
MIXTURE = analytic.Mixture()
VP = processes.VP()
PROCESSES = {
  'vp': VP,
  'subvp': processes.SubVP(),
  've': processes.VE(),
  'edm': processes.EDM(),
  'flow': processes.RectifiedFlow(),
}
BIT = np.log(2)


class Rotated:
  """N(m, C) in D dimensions, C with any axes: one component, exact."""

  def __init__(self, dimension=4):
    rng = np.random.default_rng(1)
    self.axes, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    self.stds = np.linspace(0.2, 0.9, dimension)
    self.mean = rng.uniform(-0.5, 0.5, dimension)

  def draw(self, n):
    z = np.random.default_rng(2).standard_normal((n, len(self.mean)))
    return jnp.asarray(self.mean + (z * self.stds) @ self.axes.T)

  def denoiser(self, process):
    """Returns the exact denoiser."""

    def denoise(x, t):
      alpha, sigma = (
        jnp.broadcast_to(f(jnp.asarray(t)), x.shape[:1])[:, None]
        for f in (process.alpha, process.sigma)
      )
      variance = (alpha * self.stds) ** 2 + sigma**2
      r = (x - alpha * self.mean) @ self.axes / variance
      x0 = self.mean + (alpha * self.stds**2 * r) @ self.axes.T
      return analytic.prediction.Prediction(x0, sigma * (r @ self.axes.T))

    return denoise

  def moments(self, process, t):
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    return alpha * self.mean, np.hypot(alpha * self.stds, sigma)

  def flow_logp(self, process, x):
    """Returns where the flow takes x, and the log-density it gives there."""
    mean, std = self.moments(process, process.t_min)
    end_mean, end_std = self.moments(process, process.t_max)
    local = (np.asarray(x) - mean) @ self.axes / std * end_std
    end = end_mean + local @ self.axes.T
    return end, process.prior_logp(end) + np.log(end_std / std).sum()

  def logp(self, x):
    """Returns the log-density of the data."""
    z = (np.asarray(x) - self.mean) @ self.axes / self.stds
    constant = np.log(2 * np.pi * self.stds**2).sum()
    return -0.5 * (np.sum(z**2, axis=1) + constant)


EXACT = likelihood.Exact()
rotated = functools.cache(Rotated)


def selection(number, ends):
  return selected.Selected(number=number, t_min=ends[0], t_max=ends[1])


@functools.partial(jax.jit, static_argnames=('data', 'trace'))
def evaluate_selected(number, ends, x, keys, tol, *, data, trace):
  """Evaluates log p on any smooth process: compiled once."""
  process = selection(number, ends)
  return likelihood.log_likelihood(
    data.denoiser(process), process, x, keys, trace=trace, rtol=tol, atol=tol
  )


def place(process):
  """Returns the number of a process, and its ends."""
  return selected.EVERY.index(process), (process.t_min, process.t_max)


def evaluate(data, process, x, trace=EXACT, tol=1e-7):
  keys = noise.image_keys(0, np.arange(len(x)))
  return evaluate_selected(
    *place(process), x, keys, tol, data=data, trace=trace
  )


@pytest.mark.parametrize('name', PROCESSES)
def test_a_rotated_gaussian_has_the_density_of_its_flow(name, record_property):
  process, data = PROCESSES[name], rotated(4)
  x = data.draw(6)
  found = evaluate(data, process, x)
  latent, exact = data.flow_logp(process, x)
  bits = len(data.mean) * BIT
  assert np.abs(found.logp - exact).max() / bits < 1e-5
  np.testing.assert_allclose(found.latent, latent, rtol=1e-5, atol=1e-5)
  gap = np.mean(found.logp - data.logp(x)) / bits
  record_property('gap to the data, bits per dimension', float(gap))


@pytest.mark.parametrize('name', PROCESSES)
def test_a_mixture_has_the_density_of_its_flow(name, record_property):
  """The exact flow carries the exact marginals into each other."""
  process = PROCESSES[name]
  x = jnp.asarray([[0.8, 0.1], [-0.5, 0.6], [0.1, -0.9], [0.3, 0.3]])
  found = evaluate(MIXTURE, process, x)
  scales = lambda t: (process.alpha(t), process.sigma(t))
  latent = MIXTURE.flow(process, x, process.t_min, process.t_max)
  exact = (
    process.prior_logp(latent)
    + MIXTURE.logp(x, *scales(process.t_min))
    - MIXTURE.logp(latent, *scales(process.t_max))
  )
  assert np.abs(found.logp - exact).max() / (2 * BIT) < 1e-5
  data = MIXTURE.logp(x, jnp.ones(()), jnp.zeros(()))
  gap = np.mean(found.logp - data) / (2 * BIT)
  record_property('gap to the data, bits per dimension', float(gap))


@pytest.mark.parametrize(
  'trace', [likelihood.Rademacher(), likelihood.Gaussian()]
)
def test_probes_are_unbiased(trace):
  """1,000 probes of one image, under a covariance that has no axis in x."""
  data = rotated(3)
  x = jnp.broadcast_to(data.draw(1), (1000, 3))
  _, exact = data.flow_logp(VP, x[:1])
  found = np.asarray(evaluate(data, VP, x, trace, tol=1e-5).logp)
  error = found.std(ddof=1) / np.sqrt(len(found))
  assert error > 1e-3  # a vanishing variance would test nothing
  assert abs(found.mean() - exact[0]) < 4 * error


def test_several_probes_are_averaged():
  """Variance falls as 1 / K, and by no more than chance differs from it."""
  data = rotated(3)
  x = jnp.broadcast_to(data.draw(1), (1000, 3))
  variances = [
    np.var(evaluate(data, VP, x, likelihood.Gaussian(count=k), tol=1e-3).logp)
    for k in (1, 9)
  ]
  assert 9 * 0.6 < variances[0] / variances[1] < 9 / 0.6


def test_probes_have_the_unit_as_their_second_moment():
  x = jnp.zeros((2, 3))
  key = jax.random.key(0)
  basis = np.asarray(likelihood.Exact().probes(key, x)).reshape(-1, 6)
  np.testing.assert_allclose(basis.T @ basis / len(basis), np.eye(6))
  for trace in (likelihood.Rademacher, likelihood.Gaussian):
    e = np.asarray(trace(count=20_000).probes(key, x)).reshape(-1, 6)
    assert e.dtype == np.float64
    np.testing.assert_allclose(e.T @ e / len(e), np.eye(6), atol=0.05)


def test_the_divergence_of_a_field_by_hand():
  field = lambda x: jnp.stack([x[:, 0] ** 2 * x[:, 1], jnp.sin(x[:, 1])], 1)
  x = jnp.asarray([[0.5, 2.0], [-1.0, 0.3]])
  probes = jax.vmap(likelihood.Exact().probes)(jnp.zeros(2), x)
  v, found = likelihood.divergence(field, x, probes)
  np.testing.assert_allclose(v, field(x))
  exact = 2 * x[:, 0] * x[:, 1] + jnp.cos(x[:, 1])
  np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.parametrize('count', [1, 3])
def test_evaluations_are_counted_truly(count):
  calls = []
  edm = processes.EDM()
  denoiser = counted(MIXTURE.denoiser(edm), lambda: calls.append(1))
  run = jax.jit(
    lambda x, keys: likelihood.log_likelihood(
      denoiser, edm, x, keys, trace=likelihood.Rademacher(count=count),
      rtol=1e-4, atol=1e-4,
    ).evaluations
  )  # fmt: skip
  evaluations = run(jnp.asarray([[0.3, 0.4]]), noise.image_keys(0, [0]))
  jax.effects_barrier()
  assert int(evaluations[0]) == len(calls) > 30


def test_an_image_does_not_depend_on_its_batch():
  x = jnp.asarray([[0.8, 0.1], [-0.5, 0.6], [900.0, -800.0]])
  keys = noise.image_keys(0, np.arange(3))
  edm = processes.EDM()
  run = jax.jit(
    lambda x, keys: likelihood.log_likelihood(
      MIXTURE.denoiser(edm), edm, x, keys, rtol=1e-7, atol=1e-7
    )
  )
  whole, turned = run(x, keys), run(x[::-1], keys[::-1])
  for a, b in zip(whole, turned, strict=True):
    np.testing.assert_allclose(a, b[::-1], rtol=1e-12)
  assert len(set(whole.evaluations.tolist())) > 1  # steps of their own


@jax.jit
def there_and_back(number, ends, x):
  """Returns the codes of x and their data, on any smooth process."""
  process = selection(number, ends)
  denoiser = MIXTURE.denoiser(process)
  code, _ = likelihood.encode(denoiser, process, x, rtol=1e-5, atol=1e-5)
  back, _ = likelihood.decode(denoiser, process, code, rtol=1e-5, atol=1e-5)
  return code, back


@pytest.mark.parametrize('name', PROCESSES)
def test_codes_return_their_data(name):
  process = PROCESSES[name]
  x = jnp.asarray([[0.8, 0.1], [-0.5, 0.6], [0.1, -0.9]])
  code, back = there_and_back(*place(process), x)
  exact = MIXTURE.flow(process, x, process.t_min, process.t_max)
  bound = 1e-3 * max(process.prior_std(), 1)
  np.testing.assert_allclose(code, exact, rtol=0, atol=bound)
  assert np.abs(back - x).max() < 1e-3


def test_interpolation_runs_on_the_circle():
  a = jnp.asarray([[2.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
  b = jnp.asarray([[0.0, 2.0, 0.0], [1.0, 2.0, 3.0]])
  third = likelihood.interpolate(a, b, 1 / 3)
  exact = [2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6), 0]
  np.testing.assert_allclose(third, [exact, [1, 2, 3]], atol=1e-12)
  np.testing.assert_allclose(likelihood.interpolate(a, b, 0.0), a, atol=1e-12)
  np.testing.assert_allclose(
    likelihood.interpolate(a, b, jnp.asarray([1.0, 0.5])), b, atol=1e-12
  )


def test_float32_stays_float32():
  with jax.enable_x64(False):
    x = jnp.asarray([[0.8, 0.1]], jnp.float32)
    found = jax.eval_shape(
      lambda x, keys: likelihood.log_likelihood(
        MIXTURE.denoiser(VP), VP, x, keys
      ),
      x,
      noise.image_keys(0, [0]),
    )
    assert found.logp.dtype == found.latent.dtype == jnp.float32
