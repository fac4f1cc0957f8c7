"""The classifier's loss by hand, its truth on a mixture, and that it learns."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import data, denoising, objectives, processes
from tests import analytic, tiny, tiny_classifier

MIXTURE = analytic.Mixture()
KEY = jax.random.key(0)


class Fixed(nn.Module):
  """Logits that are parameters, whatever the image."""

  classes: int = 3

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Returns them for every image."""
    logits = self.param('logits', nn.initializers.zeros, (self.classes,))
    return jnp.tile(logits, (len(x), 1))


class Exact(nn.Module):
  """The mixture's components by their log joint, up to a constant."""

  process: processes.Process

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Takes x and t as they are; its one parameter is 1."""
    scale = self.param('scale', nn.initializers.ones, ())
    alpha, sigma = self.process.alpha(noise), self.process.sigma(noise)
    return scale * MIXTURE._parts(x, alpha, sigma)[0] + 7.0


def classifier(network, process, **fields):
  plain = denoising.InputMap(noise=denoising.Linear(factor=1.0))
  return objectives.Classifier(
    process=process, network=network, inputs=plain, **fields
  )


def batch(n, seed=0):
  """Draws labelled points of the mixture."""
  rng = np.random.default_rng(seed)
  label = rng.choice(3, n, p=MIXTURE.weights)
  turn = np.asarray([
    [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in MIXTURE.angles
  ])
  z = rng.standard_normal((n, 2)) * np.asarray(MIXTURE.stds)[label]
  x = np.asarray(MIXTURE.means)[label] + np.einsum('nij,nj->ni', turn[label], z)
  return {'image': jnp.asarray(x), 'label': jnp.asarray(label, jnp.int32)}


def loss(objective, params, batch, key=KEY):
  value, (metrics, aux) = objective.loss(
    params, (), None, batch, key, step=0, ema={}
  )
  assert aux == ()
  return float(value), float(metrics['accuracy'])


def test_cross_entropy_and_accuracy_by_hand():
  objective = classifier(Fixed(), processes.VP())
  images = jnp.zeros((4, 2, 2, 1))
  data = {'image': images, 'label': jnp.asarray([0, 1, 1, 2])}
  params = objective.init(KEY, data)
  value, _ = loss(objective, params, data)
  assert value == pytest.approx(math.log(3), rel=1e-6)
  logits = np.log([0.2, 0.5, 0.3])
  value, accuracy = loss(objective, {'logits': jnp.asarray(logits)}, data)
  assert value == pytest.approx(-np.log([0.2, 0.5, 0.5, 0.3]).mean(), rel=1e-5)
  assert accuracy == 0.5


def test_log_prob_is_the_exact_classifier(process, x64):
  objective = classifier(Exact(process), process)
  points = batch(6)
  params = objective.init(KEY, points)
  t = jnp.linspace(process.t_min, process.t_max, 6)
  x = process.perturb(points['image'], points['image'][::-1], t)
  found = objective.log_prob(params)(x, t)
  joint, _, _ = MIXTURE._parts(x, process.alpha(t), process.sigma(t))
  np.testing.assert_allclose(found, jax.nn.log_softmax(joint), atol=1e-12)
  np.testing.assert_allclose(jnp.exp(found).sum(axis=1), np.ones(6), rtol=1e-12)


def test_the_true_classifier_has_the_least_loss(x64):
  """Any scale of its logits but 1 is worse, on 20,000 points."""
  process, points = processes.VP(), batch(20_000)
  objective = classifier(Exact(process), process)
  scaled = lambda scale: loss(objective, {'scale': jnp.asarray(scale)}, points)
  true, accuracy = scaled(1.0)
  assert scaled(0.8)[0] > true < scaled(1.25)[0]
  # Between chance and the classes of clean points, which overlap little.
  assert max(MIXTURE.weights) < accuracy < 0.9


def test_an_image_is_seen_at_its_time_and_scale():
  """At t_max of VE only noise is left: uniform, but for the weights."""
  seen = []

  class Spy(Fixed):
    def __call__(self, x, noise, cond=None, *, train=False):
      seen.append((x, noise, train))
      return jnp.zeros((len(x), 3))

  objective = objectives.Classifier(
    process=processes.VE(sigma_max=10.0), network=Spy(),
    inputs=denoising.InputMap(
      scale=denoising.UnitVariance(data_std=1.0),
      noise=denoising.LogSigma(factor=1.0, unit=2.0),
    ),
    times=objectives.UniformTimes(stratified=True),
  )  # fmt: skip
  images = {'image': jnp.ones((256, 8)), 'label': jnp.zeros(256, jnp.int32)}
  loss(objective, {}, images)
  ((x, noise, train),) = seen
  sigma = 2 * np.exp(noise)  # uniform in t is uniform in log(sigma)
  assert train
  assert sigma.min() == pytest.approx(0.02, rel=0.1)
  assert sigma.max() == pytest.approx(10, rel=0.1)
  z = (x * np.sqrt(1 + sigma**2)[:, None] - 1) / sigma[:, None]
  assert abs(float(z.std()) - 1) < 5 / np.sqrt(2 * z.size)


def test_data_without_labels_are_refused():
  objective = classifier(Fixed(), processes.VP())
  with pytest.raises(ValueError, match='needs data with labels'):
    objective.init(KEY, {'image': jnp.zeros((1, 2, 2, 1))})


def test_it_learns_the_digits():
  """A hundred steps of gradient descent on the digits, nearly clean."""
  few = data.Digits().take(np.arange(256))
  digits = {
    'image': jnp.asarray(data.to_unit_range(few['image'])),
    'label': jnp.asarray(few['label']),
  }
  objective = classifier(
    tiny_classifier.Logits(), processes.VE(sigma_min=0.02, sigma_max=0.5)
  )

  @jax.jit
  def step(params, key):
    (value, (metrics, _)), grads = objective.gradients(
      params, (), None, digits, key, step=0, ema={}
    )
    params = jax.tree.map(lambda p, g: p - 0.2 * g, params, grads)
    return params, (value, metrics['accuracy'])

  with tiny.quick_compilation():
    params = objective.init(KEY, digits)
    _, (values, right) = jax.lax.scan(step, params, jax.random.split(KEY, 100))
  assert values[0] == pytest.approx(math.log(10), abs=0.5)
  assert right[-5:].mean() > 0.8
