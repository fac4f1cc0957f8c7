"""Averages against their sums in closed form."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import training
from difjax.training import ema


def averaged(rule, values, start):
  average = {'w': jnp.asarray(start)}
  for step, value in enumerate(values):
    average = ema.update(rule, average, {'w': jnp.asarray(value)}, step)
  return np.asarray(average['w'])


@pytest.mark.usefixtures('x64')
def test_a_constant_rate_is_the_geometric_sum():
  """d^n x_0 + (1 - d) sum_i d^(n - 1 - i) p_i."""
  rng, d, n = np.random.default_rng(0), 0.9, 30
  values, start = rng.standard_normal((n, 5)), rng.standard_normal(5)
  weights = (1 - d) * d ** np.arange(n - 1, -1, -1)
  expected = d**n * start + weights @ values
  found = averaged(training.ConstantEMA(rate=d), values, start)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.usefixtures('x64')
def test_a_warmed_up_rate_is_the_product_of_its_rates():
  """d_n = (1 + n) / (10 + n): a prefix's product is 9! (n + 1)! / (n + 10)!."""
  n, start = 8, np.ones(3)
  found = averaged(training.WarmedUpEMA(rate=0.9999), np.zeros((n, 3)), start)
  steps = np.arange(n)
  expected = np.prod((1 + steps) / (10 + steps))
  np.testing.assert_allclose(found, expected * start, rtol=1e-12)


@pytest.mark.parametrize(
  ('step', 'rate'),
  [(0, 0.1), (8, 0.5), (80, 0.9), (8_989, 0.999), (10**6, 0.999)],
)
def test_rates_of_the_warm_up(step, rate):
  rule = training.WarmedUpEMA(rate=0.999)
  assert float(rule.decay(jnp.int32(step))) == pytest.approx(rate, rel=1e-6)


def test_an_average_keeps_its_type():
  average = {'w': jnp.zeros(3, jnp.float32)}
  for rule in (training.ConstantEMA(), training.WarmedUpEMA()):
    found = ema.update(rule, average, average, jnp.int32(3))
    assert found['w'].dtype == jnp.float32
