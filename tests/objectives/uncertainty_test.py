"""A learned variance against the closed form of its minimum."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from difjax import denoising, networks, objectives, processes, pytree
from difjax.denoising import targets

DATA = 2.0  # what images are normal with, around 0


class Wrong(nn.Module):
  """A network whose only parameter does not matter: it says zero."""

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Returns zeros."""
    return 0 * self.param('scale', nn.initializers.ones, ()) * x


class Constant(nn.Module):
  """The same variance at all noise levels."""

  @nn.compact
  def __call__(self, noise):
    """Returns u [B]."""
    return jnp.broadcast_to(
      self.param('u', nn.initializers.zeros, ()), noise.shape)


OBJECTIVE = objectives.UncertaintyDenoising(
  process=processes.EDM(), target=denoising.Preconditioned(data_std=0.5),
  network=Wrong(),
  inputs=denoising.InputMap(noise=denoising.LogSigma()),
  times=objectives.LogNormalTimes(mean=-0.8, std=1.6, stratified=True),
  weighting=objectives.EDMWeighting(), log_variance=Constant())
BATCH = {'image': DATA * jax.random.normal(jax.random.key(0), (64, 4, 4, 1))}


@functools.partial(jax.jit, static_argnums=0)
def scored(objective, params):
  """The loss, its metrics, and its gradient."""
  return jax.value_and_grad(
    lambda p: objective.loss(
      p, (), None, BATCH, jax.random.key(1), step=0, ema={}),
    has_aux=True)(params)


def with_u(u):
  return {'scale': jnp.ones(()), 'log_variance': {'u': jnp.float32(u)}}


def test_the_loss_by_hand():
  """error exp(-u) + u, error being the loss of plain denoising."""
  plain = objectives.Denoising(**{
    field.name: getattr(OBJECTIVE, field.name)
    for field in dataclasses.fields(objectives.Denoising)})
  (error, _), _ = scored(plain, {'scale': jnp.ones(())})
  for u in (0.0, 0.7):
    (loss, (metrics, _)), _ = scored(OBJECTIVE, with_u(u))
    np.testing.assert_allclose(metrics['error'], error, rtol=1e-6)
    np.testing.assert_allclose(loss, error * np.exp(-u) + u, rtol=1e-6)


def test_the_minimum_is_at_the_error():
  """exp(u) = E error, and the least loss 1 + log E error."""
  (_, (metrics, _)), _ = scored(OBJECTIVE, with_u(0.0))
  error = float(metrics['error'])
  (loss, _), grads = scored(OBJECTIVE, with_u(np.log(error)))
  assert abs(grads['log_variance']['u']) < 1e-5
  assert loss == pytest.approx(1 + np.log(error), rel=1e-5)


def test_learned_at_every_noise_level():
  """A network that says 0 errs by E F^2 = ((s c)^2 + (d^2)^2) / (d r)^2.

  For data of standard deviation c the target F = (s x_0 - d^2 eps) / (d r), r^2
  = s^2 + d^2, has that mean square; u must find its logarithm at all s.
  """
  net = networks.LogVariance(width=32)
  objective = dataclasses.replace(OBJECTIVE, log_variance=net)
  key = jax.random.key(2)
  params = objective.init(key, BATCH)
  sigma = jnp.exp(jnp.linspace(-3.0, 1.5, 9))
  d, c = 0.5, DATA
  square = ((sigma * c) ** 2 + d**4) / (d**2 * (sigma**2 + d**2))

  def expected(params):
    u = objective.uncertainty(params, sigma)
    return jnp.mean(square * jnp.exp(-u) + u)

  # The closed form is checked against draws, and then minimised exactly.
  target = targets.value(
    objective.target, objective.process,
    c * jax.random.normal(key, (9, 40_000)),
    jax.random.normal(jax.random.key(3), (9, 40_000)), sigma)
  np.testing.assert_allclose((target**2).mean(1), square, rtol=0.05)

  @jax.jit
  def descend(params):
    return jax.lax.fori_loop(
      0, 3000, lambda _, p: jax.tree.map(
        lambda a, g: a - 0.3 * g, p, jax.grad(expected)(p)), params)

  u = objective.uncertainty(descend(params), sigma)
  np.testing.assert_allclose(u, jnp.log(square), atol=0.15)


def test_parameters_lie_beside_those_of_the_network():
  objective = dataclasses.replace(
    OBJECTIVE, log_variance=networks.LogVariance(width=8))
  params = objective.init(jax.random.key(0), BATCH)
  assert {name for name, _ in pytree.named_leaves(params)} == {
    'scale', 'log_variance/out/kernel', 'log_variance/encoding/frequencies',
    'log_variance/encoding/phases'}
  pair = objective.denoiser(params)(BATCH['image'], jnp.float32(1.0))
  # F = 0: x_0 = d^2 / (s^2 + d^2) x.
  np.testing.assert_allclose(
    pair.x0, 0.25 / 1.25 * BATCH['image'], rtol=1e-5)
