"""The loss of networks that are exact, against its value in closed form."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from flax import linen as nn

from difjax import denoising, objectives, processes
from difjax.denoising import targets
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
SHAPE = (2, 2, 1)
CLOCK = denoising.InputMap(
  scale=denoising.UnitVariance(), noise=denoising.Linear(factor=1.0)
)


class Exact(nn.Module):
  """The network that no training can improve on, for its data."""

  data: analytic.Gaussian
  process: processes.Process
  target: denoising.Target
  inputs: denoising.InputMap = CLOCK

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    c_in, _ = self.inputs(self.process, noise)
    x = x / c_in[:, None, None, None]
    pair = self.data.denoiser(self.process)(x, noise)
    return targets.value(self.target, self.process, pair.x0, pair.eps, noise)


class Said(nn.Module):
  """A network that puts out a function of its label, and one weight."""

  function: Callable = lambda label: label

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    scale = self.param('scale', nn.initializers.ones, ())
    label = self.function(cond['label']).astype(x.dtype)
    return scale * label[:, None, None, None] + 0 * x


class Enlarged(nn.Module):
  """A network that puts out the one pixel which it is to enlarge."""

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    scale = self.param('scale', nn.initializers.ones, ())
    return scale * cond['low_res'] + 0 * x


def objective(data, process, target, **fields):
  return objectives.Denoising(
    process=process, target=target, network=Exact(data, process, target),
    inputs=CLOCK, **fields,
  )  # fmt: skip


def losses(task, data, n=40, batch=512):
  """Returns the losses [n] of independent batches of data."""

  @jax.jit
  @jax.vmap
  def one(key):
    key_x, key_loss = jax.random.split(key)
    x0 = data.mean + data.std * jax.random.normal(key_x, (batch, *SHAPE))
    batch_of = {'image': x0}
    return task.loss({}, (), (), batch_of, key_loss, step=0, ema={})[0]

  return np.asarray(one(jax.random.split(jax.random.key(0), n)))


def agree(losses, exact):
  error = losses.std(ddof=1) / len(losses) ** 0.5
  assert error < 0.02 * exact  # or the comparison could not fail
  assert abs(losses.mean() - exact) < 4 * error


def test_noise_on_vp():
  # Var(eps | x) = alpha^2 s^2 / (alpha^2 s^2 + sigma^2), averaged over t.
  data, vp = analytic.Gaussian(), processes.VP()

  def variance(t):
    alpha2 = np.exp(-0.1 * t - 9.95 * t**2)
    return alpha2 / 4 / (alpha2 / 4 + 1 - alpha2)

  exact = scipy.integrate.quad(variance, 1e-5, 1)[0] / (1 - 1e-5)
  agree(losses(objective(data, vp, denoising.Noise()), data), exact)


def test_the_loss_by_quarters_of_the_times():
  """As above, over [0, 1/4], [1/4, 1/2], ... each by itself."""
  data, vp = analytic.Gaussian(), processes.VP()
  task = objective(data, vp, denoising.Noise())
  x0 = data.mean + data.std * jax.random.normal(
    jax.random.key(1), (40_000, *SHAPE))
  loss, (metrics, _) = task.loss(
    {}, (), (), {'image': x0}, jax.random.key(2), step=0, ema={})
  sums, counts = np.asarray(metrics['loss_t'])
  assert counts.sum() == 40_000
  np.testing.assert_allclose(sums.sum() / 40_000, loss, rtol=1e-9)
  assert np.abs(counts - 10_000).max() < 5 * (40_000 * 3 / 16) ** 0.5

  def variance(t):
    alpha2 = np.exp(-0.1 * t - 9.95 * t**2)
    return alpha2 / 4 / (alpha2 / 4 + 1 - alpha2)

  for i, mean in enumerate(sums / counts):
    exact = 4 * scipy.integrate.quad(variance, i / 4, (i + 1) / 4)[0]
    # A mean of four squares has a relative spread of 0.71 at the least.
    assert abs(mean / exact - 1) < 5 * 1.5 / 10_000**0.5, i


def test_reductions_by_hand():
  square = jnp.asarray([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]])
  np.testing.assert_array_equal(objectives.mean(square), [2.5, 0.5])
  np.testing.assert_array_equal(objectives.half_sum(square), [5.0, 1.0])


def test_edm():
  # lambda(sigma) Var(x_0 | x), Var = s^2 sigma^2 / (s^2 + sigma^2), averaged
  # over ln(sigma) ~ N(-1.2, 1.2^2); with d = s it is 1 at every sigma.
  data, edm = analytic.Gaussian(std=0.3), processes.EDM(t_min=1e-6, t_max=1e6)
  task = objective(
    data, edm, denoising.Preconditioned(data_std=0.5),
    times=objectives.LogNormalTimes(),
    weighting=objectives.EDMWeighting(data_std=0.5),
  )  # fmt: skip
  z = np.linspace(-8, 8, 4001)
  s2 = np.exp(2 * (-1.2 + 1.2 * z))
  weighted = (s2 + 0.25) / (s2 * 0.25) * 0.09 * s2 / (0.09 + s2)
  density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
  agree(losses(task, data), np.trapezoid(weighted * density, z))


def test_edm_of_its_own_data_is_one():
  data, edm = analytic.Gaussian(std=0.5), processes.EDM()
  task = objective(
    data, edm, denoising.Data(), times=objectives.LogNormalTimes(),
    weighting=objectives.EDMWeighting(data_std=0.5),
  )  # fmt: skip
  agree(losses(task, data), 1.0)


def test_flow_matching():
  # Var(eps - x_0 | x) = s^2 / ((1 - t)^2 s^2 + t^2), t uniform.
  data, flow = analytic.Gaussian(), processes.RectifiedFlow()
  variance = lambda t: 0.25 / ((1 - t) ** 2 / 4 + t**2)
  exact = scipy.integrate.quad(variance, 1e-4, 0.999)[0] / (0.999 - 1e-4)
  agree(losses(objective(data, flow, denoising.Velocity()), data), exact)


def test_likelihood_weighting_with_importance_sampling():
  # The integral of g^2 / sigma^2 Var(eps | x) over t, by the mean over lambda:
  # g^2 / sigma^2 dt = -dlambda, Var = SNR s^2 / (SNR s^2 + 1).
  data, vp = analytic.Gaussian(), processes.VP(t_min=1e-3)
  task = objective(
    data, vp, denoising.Noise(), times=objectives.LikelihoodImportanceTimes(),
    weighting=objectives.LikelihoodWeighting(),
  )  # fmt: skip
  integral = lambda t: -np.log(np.expm1(0.1 * t + 9.95 * t**2))
  primitive = lambda t: np.log1p(np.exp(integral(t)) / 4)
  exact = (primitive(1e-3) - primitive(1.0)) / (1 - 1e-3)
  agree(losses(task, data), exact)


def test_point_mass_costs_nothing(target):
  # All data at one point, and a network that knows it: x_0 and eps are exact.
  data, process = analytic.Gaussian(mean=0.3, std=0.0), processes.Cosine()
  task = objective(data, process, target)
  batch = {'image': jnp.full((8, *SHAPE), 0.3)}
  value, _ = task.loss(
    {}, (), (), batch, jax.random.key(0), step=0, ema={}
  )
  t = np.linspace(process.t_min, process.t_max, 50)
  a, b = (np.abs(v).max() for v in target.coefficients(process, t))
  assert 0 <= float(value) < 1e-16 * (1 + a**2 + b**2)


def test_denoiser_is_the_networks(target):
  data, process = analytic.Gaussian(), processes.VP()
  t = process.t_min + 0.4 * (process.t_max - process.t_min)
  x = jax.random.normal(jax.random.key(0), (2, *SHAPE))
  got = objective(data, process, target).denoiser({})(x, t)
  wanted = data.denoiser(process)(x, jnp.full(2, t))
  np.testing.assert_allclose(got.x0, wanted.x0, rtol=1e-8, atol=1e-9)
  np.testing.assert_allclose(got.eps, wanted.eps, rtol=1e-8, atol=1e-9)


def labelled(rate, n=4096, label=3, function=lambda label: label, **fields):
  """Returns the loss of a network that says its label, the same for all."""
  task = objectives.Denoising(
    process=processes.VP(), target=denoising.Data(),
    network=Said(function=function), label_dropout=rate, **fields,
  )  # fmt: skip
  batch = {
    'image': jnp.zeros((n, 1, 1, 1)), 'label': jnp.stack(n * [label]),
  }  # fmt: skip
  params = task.init(jax.random.key(0), batch)
  loss = jax.jit(task.loss)
  key = jax.random.key(1)
  return float(loss(params, (), (), batch, key, step=0, ema={})[0])


def test_labels_are_hidden_at_their_rate():
  # 9 where the label is seen, 1 where it is -1.
  rate = (9 - labelled(0.2)) / 8
  assert abs(rate - 0.2) < 4 * (0.2 * 0.8 / 4096) ** 0.5


def test_the_reduction_is_used():
  # One number an image: half its square.
  assert labelled(0.0, n=64, reduction=objectives.half_sum) == 4.5


# The mean of 1, 2, 3 and 5 is 2.75, and their variance 2.1875; that of their
# squares is 9.75, if the batch says that the small image is 0.
@pytest.mark.parametrize(('given', 'loss'), [
  ({}, 2.1875), ({'low_res': jnp.zeros((1, 1, 1, 1))}, 9.75),
])
def test_small_images_are_made_of_the_data(given, loss):
  task = objectives.Denoising(
    process=processes.VP(), target=denoising.Data(), network=Enlarged(),
    low_res=denoising.AveragePool(factor=2),
  )  # fmt: skip
  batch = {'image': jnp.asarray([1.0, 2, 3, 5]).reshape(1, 2, 2, 1)} | given
  params = task.init(jax.random.key(0), batch)
  found, _ = task.loss(
    params, (), (), batch, jax.random.key(1), step=0, ema={})
  assert found == pytest.approx(loss)


@pytest.mark.parametrize(('rate', 'loss'), [(0.0, 9.0), (1.0, 1.0)])
def test_all_or_no_labels_are_hidden(rate, loss):
  assert labelled(rate, n=64) == loss


@pytest.mark.parametrize(('rate', 'loss'), [(0.0, 9.0), (1.0, 0.0)])
def test_hidden_weights_of_classes_are_zeros(rate, loss):
  """A network that says the sum of its weights, here 1 and 2."""
  total = lambda label: jnp.sum(label, axis=-1)
  weights = jnp.asarray([1.0, 2.0])
  assert labelled(rate, n=8, label=weights, function=total) == loss


def test_what_hides_labels_knows_what_none_is():
  known = lambda rate: objectives.Denoising(
    process=processes.VP(), target=denoising.Data(), network=Said(),
    label_dropout=rate,
  ).null_label  # fmt: skip
  assert known(0.1)
  assert not known(0.0)


def test_the_denoiser_sees_its_condition():
  task = objectives.Denoising(
    process=processes.EDM(), target=denoising.Data(), network=Said(),
    label_dropout=1.0,
  )  # fmt: skip
  params, cond = {'scale': jnp.ones(())}, {'label': jnp.asarray([4, 7])}
  denoise = task.denoiser(params, cond)
  pair = denoise(jnp.zeros((2, 1, 1, 1)), 1.0)
  np.testing.assert_array_equal(pair.x0.ravel(), [4.0, 7.0])


def test_gradients_are_those_of_the_loss():
  # Loss (3 scale)^2 at scale 1: slope 18.
  task = objectives.Denoising(
    process=processes.VP(), target=denoising.Data(), network=Said()
  )
  batch = {'image': jnp.zeros((4, 1, 1, 1)), 'label': jnp.full(4, 3)}
  params = task.init(jax.random.key(0), batch)
  (value, _), gradient = jax.jit(task.gradients)(
    params, (), (), batch, jax.random.key(1), step=0, ema={}
  )
  assert float(value) == pytest.approx(9)
  assert float(gradient['scale']) == pytest.approx(18)


@pytest.mark.parametrize('rate', [-0.1, 1.1, float('nan')])
def test_dropout_that_is_no_rate_is_refused(rate):
  with pytest.raises(ValueError, match='label_dropout'):
    objectives.Denoising(
      process=processes.VP(), target=denoising.Noise(), network=Said(),
      label_dropout=rate,
    )  # fmt: skip


def test_singular_targets_are_refused():
  with pytest.raises(ValueError, match='Noise is singular at t_max'):
    objectives.Denoising(
      process=processes.Cosine(t_max=1.0), target=denoising.Noise(),
      network=Said(),
    )  # fmt: skip


def test_objectives_are_values():
  build = lambda: objectives.Denoising(
    process=processes.VP(), target=denoising.Noise(), network=Said()
  )
  assert build() == build()
  assert hash(build()) == hash(build())
