"""Guidance of a mixture by its exact classifier is the exact component."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes
from difjax.denoising import guidance, prediction
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')
DATA = analytic.Mixture()


def classifier(process):
  """The exact log p(component | x_t)."""

  def log_prob(x, t):
    joint, _, _ = DATA._parts(x, process.alpha(t), process.sigma(t))
    return jax.nn.log_softmax(joint)

  return log_prob


def component(process, k):
  """The exact denoiser of one component alone."""
  only = lambda values: (values[k],)
  return dataclasses.replace(
    DATA, weights=(1.0,), means=only(DATA.means), stds=only(DATA.stds),
    angles=only(DATA.angles),
  ).denoiser(process)  # fmt: skip


def seen(process):
  """Times from t_min to t_max, and images of all components at them."""
  t = jnp.linspace(process.t_min, process.t_max, 6)
  eps = jax.random.normal(jax.random.key(0), (6, 2))
  x0 = jnp.asarray(DATA.means)[jnp.arange(6) % 3] + 0.3 * eps[::-1]
  return process.perturb(x0, eps, t), t


@pytest.mark.parametrize('scalar', [False, True])
def test_scale_one_is_the_component(process, scalar):
  x, t = seen(process)
  t = 0.4 * process.t_max if scalar else t
  label = jnp.asarray([0, 1, 2, 2, 1, 0])
  guided = guidance.classifier_guided(
    DATA.denoiser(process), process, classifier(process), label
  )(x, t)
  each = [component(process, k)(x, t) for k in range(3)]
  rows = jnp.arange(6)
  for field in ('x0', 'eps'):
    wanted = jnp.stack([getattr(pair, field) for pair in each])[label, rows]
    np.testing.assert_allclose(
      getattr(guided, field), wanted, rtol=1e-10, atol=1e-10
    )


def test_the_score_grows_by_the_scaled_gradient(process):
  x, t = seen(process)
  log_prob = classifier(process)
  plain = DATA.denoiser(process)
  guided = guidance.classifier_guided(plain, process, log_prob, 1, 2.5)
  gradient = jax.vmap(
    lambda x, t: jax.grad(lambda x: log_prob(x[None], t)[0, 1])(x)
  )(x, t)
  wanted = prediction.score(plain(x, t), process, t) + 2.5 * gradient
  found = prediction.score(guided(x, t), process, t)
  np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_pair_still_adds_up_to_x(process):
  x, t = seen(process)
  pair = guidance.classifier_guided(
    DATA.denoiser(process), process, classifier(process), 0, 3.0
  )(x, t)
  np.testing.assert_allclose(
    process.perturb(pair.x0, pair.eps, t), x, rtol=1e-10, atol=1e-10
  )


def test_no_label_is_no_guidance_and_the_spread_stays():
  process = processes.VP()
  x, t = seen(process)[0], 0.4
  plain = DATA.denoiser(process)
  spread = lambda x, t: plain(x, t)._replace(spread=0.3 + 0 * x)
  label = jnp.asarray([0, -1, -1, 1, -1, 2])
  found = guidance.classifier_guided(
    spread, process, classifier(process), label
  )(x, t)
  same = np.isclose(found.x0, plain(x, t).x0, atol=1e-14).all(axis=1)
  np.testing.assert_array_equal(same, np.asarray(label) < 0)
  np.testing.assert_array_equal(found.spread, np.full((6, 2), 0.3))


@pytest.mark.parametrize('scalar', [False, True])
def test_a_classifier_of_another_process_reads_the_same(smooth, scalar):
  own = processes.EDM(t_min=1e-6, t_max=1e4)
  x, t = seen(smooth)
  t = 0.4 * smooth.t_max if scalar else t
  moved = guidance.transported(classifier(own), own, smooth)
  np.testing.assert_allclose(
    moved(x, t), classifier(smooth)(x, t), rtol=1e-7, atol=1e-7
  )


def test_a_classifier_of_the_same_process_is_left_alone():
  log_prob = classifier(processes.VP())
  found = guidance.transported(log_prob, processes.VP(), processes.VP())
  assert found is log_prob
