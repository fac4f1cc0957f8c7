"""Averages against their sums in closed form."""

from __future__ import annotations

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import training
from difjax.training import ema

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'edm2' / 'io.npz'


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


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('width', [0.05, 0.10, 0.25])
def test_a_power_function_weighs_steps_by_a_power(width):
  """The mean of steps and the width of their weights, over those steps."""
  rule, n = training.PowerFunctionEMA(width=width), 600
  weights = averaged(rule, np.eye(n), np.full(n, 7.0))
  assert weights.sum() == pytest.approx(1, abs=1e-12)  # the start is forgotten
  steps = np.arange(1, n + 1)
  late = steps > n / 2
  slope = np.polyfit(np.log(steps[late]), np.log(weights[late]), 1)[0]
  assert slope == pytest.approx(rule.exponent, rel=5e-3)
  mean = weights @ steps
  spread = np.sqrt(weights @ (steps - mean) ** 2) / n
  assert spread == pytest.approx(width, rel=1e-2)


@pytest.mark.parametrize('width', [0.01, 0.05, 0.10, 0.15, 0.28])
def test_exponents_are_roots_of_the_cubic(width):
  g = ema.exponent(width)
  assert g >= 0
  assert (g + 2) ** 2 * (g + 3) * width**2 == pytest.approx(g + 1, rel=1e-9)


def test_rates_of_the_official_power_functions():
  """Of the paper's widths; rates after some images, 2,048 of them a step."""
  with np.load(GOLDEN) as arrays:
    found = [ema.exponent(width) for width in arrays['phema_stds']]
    np.testing.assert_allclose(found, arrays['phema_exps'], rtol=1e-12)
    for width, rates in zip((0.05, 0.10), arrays['phema_beta'], strict=True):
      rule = training.PowerFunctionEMA(width=width)
      steps = arrays['phema_beta_t'] / 2048 - 1
      np.testing.assert_allclose(rule.decay(steps), rates, rtol=1e-4)


@pytest.mark.parametrize('width', [0.0, -0.1, 0.3])
def test_widths_that_there_are_not(width):
  with pytest.raises(ValueError, match=r'between 0 and 0\.28'):
    training.PowerFunctionEMA(width=width)


@pytest.mark.parametrize(
  ('step', 'halves'),
  [(0, 0.0), (400, 20.0), (2_000, 100.0), (50_000, 100.0)],
)
def test_half_lives(step, halves):
  """So many further steps at that rate leave half of a weight."""
  rule = training.HalfLifeEMA(half_life=100.0, ramp=0.05)
  rate = float(rule.decay(jnp.int32(step)))
  assert rate**halves == pytest.approx(0.5, rel=1e-4) if halves else rate == 0
  constant = training.HalfLifeEMA(half_life=100.0, ramp=None)
  assert float(constant.decay(0)) ** 100 == pytest.approx(0.5, rel=1e-4)
  with pytest.raises(ValueError, match='above 0'):
    training.HalfLifeEMA(half_life=0.0)


def test_an_average_keeps_its_type():
  average = {'w': jnp.zeros(3, jnp.float32)}
  for rule in (training.ConstantEMA(), training.WarmedUpEMA(),
               training.PowerFunctionEMA()):
    found = ema.update(rule, average, average, jnp.int32(3))
    assert found['w'].dtype == jnp.float32
