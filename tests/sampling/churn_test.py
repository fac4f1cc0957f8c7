"""Churn by EDM's formulas, and its law by exact propagation."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from tests import analytic
from tests.sampling import affine

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()
COUNTS = (256, 512, 1024)
HEUN = sampling.Heun()


def grids(process, counts, ends):
  low, high = ends
  return [
    sampling.Karras(steps=n + 1, sigma_min=low, sigma_max=high)(process)
    for n in counts
  ]


def planned(rule, times):
  return rule.plan(EDM, times[1:])  # EDM's N counts no last time


def distances(process, rule, counts, ends):
  """W2 to the exact law, the rule planned anew for each number of steps."""
  found = []
  for times in grids(process, counts, ends):
    rules = {'it': planned(rule, times)}
    found += affine.distances(process, rules, [times])['it']
  return found


def slope(errors):
  return -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]


def test_churn_has_the_order_of_its_solver(smooth):
  rule = sampling.Churned(solver=HEUN, churn=40.0)
  found = distances(smooth, rule, COUNTS, (0.05, 10.0))
  assert slope(found) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
  'churned', [sampling.Churned, sampling.DiffusersChurned]
)
def test_churned_euler_is_of_order_one(churned):
  rule = churned(solver=sampling.Euler(), churn=40.0)
  found = distances(EDM, rule, COUNTS, (0.05, 10.0))
  assert slope(found) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
  ('noise', 'exact'), [(1.0, (3.4e-3, 5.8e-5)), (1.003, (5.0e-3, 1.6e-3))]
)
def test_weak_errors_of_edm(noise, exact):
  # Measured elsewhere, by other code (reference/sampling_eval.md, T2): data
  # N(0.3, 0.25), sigma from 80 to 0.01. With S_noise the law has a bias.
  rule = sampling.Churned(solver=HEUN, churn=40.0, noise_scale=noise)
  found = distances(EDM, rule, (128, 1024), (0.01, 80.0))
  np.testing.assert_allclose(found, exact, rtol=0.03)


def one_step(rule, process, t, s, z):
  denoiser = analytic.Gaussian().denoiser(process)
  x = jnp.asarray([[2.0, -1.0]])
  noise = sampling.Recorded(jnp.broadcast_to(z, (1, 1, 1, 2)))
  t, s = jnp.asarray(t), jnp.asarray(s)
  return np.asarray(rule.step(denoiser, process, (), x, t, s, noise)[0])


def test_a_step_by_hand():
  # Algorithm 2: 10 steps, sigma 2 to 1.5, S_churn 3: up to 2.6, by Euler down.
  rule = sampling.Churned(solver=sampling.Euler(), churn=3.0, noise_scale=1.1)
  rule = rule.plan(EDM, np.linspace(4, 1, 10))
  x = np.asarray([[2.0, -1.0]]) + 1.1 * 0.7 * math.sqrt(2.6**2 - 2**2)
  slope = 2.6 * (x - 0.3) / (0.25 + 2.6**2)  # (x - D) / sigma
  np.testing.assert_allclose(
    one_step(rule, EDM, 2.0, 1.5, 0.7), x + (1.5 - 2.6) * slope, rtol=1e-9
  )


def test_no_more_than_the_noise_that_there_is():
  rule = sampling.Churned(solver=HEUN, churn=1e6).plan(EDM, np.zeros(10))
  assert rule.growth == pytest.approx(math.sqrt(2) - 1)


@pytest.mark.parametrize('ends', [{'low': 2.1}, {'high': 1.9}])
def test_outside_its_range_it_is_its_solver(smooth, ends):
  t, s = smooth.time_of_logsnr(-2 * np.log([2.0, 1.5]))
  rule = sampling.Churned(solver=HEUN, churn=3.0, **ends)
  rule = rule.plan(smooth, np.linspace(1, 0.1, 10))
  plain = one_step(HEUN, smooth, t, s, np.nan)
  outside = one_step(rule, smooth, t, s, 1.0)
  np.testing.assert_allclose(outside, plain, rtol=1e-12)
  inside = dataclasses.replace(rule, low=0.0, high=math.inf)
  assert np.abs(one_step(inside, smooth, t, s, 1.0) - plain).min() > 0.01


def test_nothing_but_noise_is_not_churned():
  # Flow at t = 1: alpha = 0, and Euler's first step goes along eps - x_0.
  flow = processes.RectifiedFlow(t_max=1.0)
  rule = sampling.Churned(solver=sampling.Euler(), growth=0.1)
  got = one_step(rule, flow, 1.0, 0.8, 5.0)
  x = np.asarray([[2.0, -1.0]])
  np.testing.assert_allclose(got, x - 0.2 * (x - 0.3), rtol=1e-9)


def test_the_last_step_is_churned_when_told():
  data = analytic.Gaussian(mean=0.0, std=0.5)
  churned = lambda solver: sampling.Churned(solver=solver, churn=1.0)
  sampler = sampling.FixedGrid(
    solver=churned(sampling.Euler()), grid=sampling.Table(times=(2.0, 1.0)),
    last=churned(sampling.Denoise()),
  )  # fmt: skip
  z = np.asarray([0.5, -2.0]).reshape(2, 1, 1, 1)
  x, evaluations = sampler(
    data.denoiser(EDM), EDM, jnp.asarray([[3.0]]), sampling.Recorded(z)
  )
  growth = math.sqrt(2)  # 1 / 2 would be more than sqrt(2) - 1
  x_1 = 3.0 + 0.5 * 2.0
  x_1 = x_1 + (1 - 2 * growth) * 2 * growth * x_1 / (0.25 + 8)
  x_2 = x_1 - 2.0 * 1.0
  np.testing.assert_allclose(x, [[0.25 / (0.25 + 2) * x_2]], rtol=1e-9)
  np.testing.assert_array_equal(evaluations, [2])


def test_noise_is_rounded_to_levels_when_told():
  # EDM's ablations of iDDPM: sigma (1 + g) to the nearest level of its net.
  table = processes.CosineBetas(levels=50)
  level = np.exp(-0.5 * table.logsnr_table())
  rule = sampling.Churned(solver=HEUN, growth=0.3, levels=table)
  nearest = level[np.argmin(np.abs(level - 2.6))]
  exact = sampling.Churned(solver=HEUN, growth=nearest / 2 - 1)
  assert abs(nearest - 2.6) > 1e-3
  np.testing.assert_allclose(
    one_step(rule, EDM, 2.0, 1.5, 0.7), one_step(exact, EDM, 2.0, 1.5, 0.7),
    rtol=1e-9,
  )  # fmt: skip
