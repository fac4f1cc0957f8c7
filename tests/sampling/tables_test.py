"""Coefficient tables against integrals in closed form."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from difjax import processes, sampling
from difjax.sampling import grids, tables

EDM = processes.EDM()
# Half the log-SNR at eight irregular steps.
HALF = np.asarray([-2.5, -2.1, -1.2, -0.9, -0.1, 0.2, 1.1, 1.3, 2.0])


@functools.cache
def times(process):
  return grids.times_of(process, 2 * HALF)


@functools.cache
def scales(process):
  """Returns alpha and sigma at the times."""
  t = times(process)
  return tuple(grids.on_host(f, t) for f in (process.alpha, process.sigma))


@functools.cache
def planned(solver, process):
  """Returns the table of HALF's steps."""
  return solver.plan(process, times(process)).table


def integral(power, start, stop, rate):
  """Integrates u^power e^(rate u), by parts."""
  term = np.polynomial.Polynomial([0, 1]) ** power

  def primitive(u):
    terms = (term.deriv(k)(u) / (-rate) ** k for k in range(power + 1))
    return np.exp(rate * u) / rate * sum(terms)

  return primitive(stop) - primitive(start)


def exact_growth(process, power, rate):
  """Returns what m = l^power adds to x in each step of HALF (1)."""
  alpha, sigma = scales(process)
  scale = sigma[1:] if rate > 0 else alpha[1:]
  return scale * rate * integral(power, HALF[:-1], HALF[1:], rate)


def growth(table, m):
  """Returns sum_j B_j m_j of a table's rows, with m [N] at the times."""
  out = np.zeros(len(table.state))
  for i, row in enumerate(table.outputs):
    for j, weight in enumerate(row):
      out[i] += weight * m[i - j] if weight else 0
  return out


def miss(solver, process, power):
  """The error of a table on m = l^power, once its history is full."""
  rate = 1 if solver.data else -1
  found = growth(planned(solver, process), HALF**power)
  error = np.abs(found - exact_growth(process, power, rate))
  return error[solver.order - 1 :].max()


EXACT = {  # (solver, degree up to which it is exact in log-SNR)
  'pp_1': (sampling.DPMSolverPP(order=1), 0),
  'pp_2': (sampling.DPMSolverPP(order=2, midpoint=False), 1),
  'pp_3': (sampling.DPMSolverPP(order=3), 2),
  'dpm_2': (sampling.MultistepDPMSolver(order=2, midpoint=False), 1),
  'dpm_3': (sampling.MultistepDPMSolver(order=3), 2),
  'unip_3': (sampling.UniPC(order=3), 2),
  'unip_3_bh1': (sampling.UniPC(order=3, bh1=True), 2),
  'unip_4': (sampling.UniPC(order=4), 3),
  'unip_3_eps': (sampling.UniPC(order=3, data=False), 2),
  'deis_4': (
    sampling.DEIS(order=4, coordinate=sampling.LogSNRCoordinate()), 3
  ),
}  # fmt: skip


@pytest.mark.parametrize('name', EXACT)
def test_exact_on_polynomials_in_log_snr(smooth, name):
  solver, degree = EXACT[name]
  for power in range(degree + 1):
    assert miss(solver, smooth, power) < 1e-12
  assert miss(solver, smooth, degree + 1) > 1e-3


@pytest.mark.parametrize('data', [True, False])
def test_the_shipped_third_order_is_not_exact_where_the_right_one_is(data):
  # reference/sampling_eval.md, finding 1: 4e-3 against 1e-16.
  kind = sampling.DPMSolverPP if data else sampling.MultistepDPMSolver
  right, shipped = kind(order=3), kind(order=3, shipped=True)
  for power in (0, 1):
    assert miss(shipped, EDM, power) < 1e-12
  assert miss(right, EDM, 2) < 1e-12
  assert miss(shipped, EDM, 2) > 1e-3


def test_the_midpoint_weighs_a_line_by_half():
  # DPM-Solver++, algorithm 2: x_s = sigma_s/sigma_t x
  #   - alpha_s (e^-h - 1) ((1 + 1 / 2r) m_0 - 1 / 2r m_1).
  table = planned(sampling.DPMSolverPP(), EDM)
  h = np.diff(HALF)
  r = h[:-1] / h[1:]
  total = -np.expm1(-h[1:])
  exact = np.stack([total * (1 + 0.5 / r), -total * 0.5 / r], axis=1)
  np.testing.assert_allclose(table.outputs[1:], exact, rtol=1e-12)
  np.testing.assert_allclose(table.state, np.exp(-h), rtol=1e-12)


@pytest.mark.parametrize('order', [1, 2, 3])
@pytest.mark.parametrize('data', [True, False])
def test_corrector_is_exact_for_one_degree_more(smooth, order, data):
  solver = sampling.UniPC(order=order, data=data)
  rate = 1 if data else -1
  mend = planned(solver, smooth).correction
  for power in range(order + 1):
    exact = exact_growth(smooth, power, rate)
    for i in range(order, len(HALF) - 1):  # row i mends step i - 1
      m = HALF[i - np.arange(order + 1)] ** power
      error = abs(mend.outputs[i] @ m - exact[i - 1])
      # One value and its end: the kernel's mean, exact for constants alone.
      assert error < 1e-12 or (order == 1 and power == 1)


def test_correction_begins_at_the_second_step_and_may_be_left_out():
  mend = planned(sampling.UniPC(uncorrected=(1, 4)), EDM).correction
  np.testing.assert_array_equal(mend.kept, [1, 0, 1, 0, 0, 1, 0, 0])
  assert not mend.outputs[[0, 2, 5]].any()
  assert not mend.state[[0, 2, 5]].any()
  assert planned(sampling.UniPC(corrector=False), EDM).correction is None


@pytest.mark.parametrize('order', [1, 2, 3, 4])
def test_lms_is_exact_on_polynomials_in_sigma(order):
  # On EDM dx = eps d sigma.
  t = times(EDM)
  table = planned(sampling.LMS(order=order), EDM)
  np.testing.assert_allclose(table.state, 1)
  for power in range(order):
    exact = np.diff(t ** (power + 1)) / (power + 1)
    error = np.abs(growth(table, t**power) - exact)[order - 1 :].max()
    assert error < 1e-12 * t[0] ** (power + 1)


def test_deis_in_time_is_exact_on_polynomials_in_time(smooth):
  # eps = t^k: the integral over sigma / alpha by Simpson's rule, finely.
  t = times(smooth)
  table = planned(sampling.DEIS(order=3), smooth)
  fine = np.linspace(HALF[:-1], HALF[1:], 2001)
  simpson = np.resize([2.0, 4.0], 2001)
  simpson[[0, -1]] = 1
  clock = grids.times_of(smooth, 2 * fine)
  alpha, _ = scales(smooth)
  for power in range(3):
    values = -np.exp(-fine) * clock**power
    exact = alpha[1:] * (simpson @ values) * np.diff(HALF) / 6000
    error = np.abs(growth(table, t**power) - exact)[2:].max()
    assert error < 1e-11


def test_ipndm_has_the_weights_of_adams_and_bashforth():
  # Liu et al. 2022, PNDM, the linear multi-step method.
  weights = np.asarray([55, -59, 37, -9]) / 24
  t = times(EDM)
  table = planned(sampling.IPNDM(), EDM)
  exact = np.diff(t)[:, None] * weights
  np.testing.assert_allclose(table.outputs[3:], exact[3:], rtol=1e-10)
  first = np.diff(t)[:3, None] * [
    [1, 0, 0, 0], [3 / 2, -1 / 2, 0, 0], [23 / 12, -16 / 12, 5 / 12, 0]
  ]  # fmt: skip
  np.testing.assert_allclose(table.outputs[:3], first, atol=1e-12)


def test_constant_m_is_ddim(process):
  # x_0 = 1 and eps = 1: from alpha + sigma at t to alpha + sigma at s.
  t = process.t_min + np.asarray([0.9, 0.6, 0.3, 0.1]) * (
    process.t_max - process.t_min
  )
  x = grids.on_host(lambda t: process.alpha(t) + process.sigma(t), t)
  for solver in (
    sampling.DPMSolverPP(order=3), sampling.DEIS(), sampling.LMS(),
    sampling.IPNDM(), sampling.UniPC(data=False),
  ):  # fmt: skip
    table = solver.plan(process, t).table
    found = table.state * x[:-1] + table.outputs.sum(axis=1)
    np.testing.assert_allclose(found, x[1:], rtol=1e-10)


@pytest.mark.parametrize('eta', [0.5, 1.0])
def test_noise_keeps_the_variance(process, eta):
  # With x_0 known, x_t ~ N(alpha x_0, sigma^2) at every time.
  t = process.t_min + np.asarray([0.9, 0.6, 0.3]) * (
    process.t_max - process.t_min
  )
  alpha, sigma = (
    grids.on_host(f, t) for f in (process.alpha, process.sigma)
  )
  table = sampling.SDEDPMSolverPP(eta=eta).plan(process, t).table
  mean = table.state * alpha[:-1] + table.outputs.sum(axis=1)
  np.testing.assert_allclose(mean, alpha[1:], rtol=1e-10)
  variance = (table.state * sigma[:-1]) ** 2 + table.drawn**2
  np.testing.assert_allclose(variance, sigma[1:] ** 2, rtol=1e-10)


@pytest.mark.parametrize(
  ('order', 'final', 'exact'),
  [
    (3, None, [1, 2, 3, 3, 3, 3]),
    (3, 1, [1, 2, 3, 3, 2, 1]),
    (3, 2, [1, 2, 3, 3, 3, 2]),
    (1, 4, [1, 1, 1, 1, 1, 1]),
    (9, 5, [1, 2, 3, 4, 5, 5]),
  ],
)
def test_orders_grow_and_shrink(order, final, exact):
  found = tables.orders(np.arange(7.0), order, final)
  np.testing.assert_array_equal(found, exact)


def test_infinite_log_snr_takes_one_value():
  nodes = np.asarray([-np.inf, -1, 0, 1, 2, np.inf])
  np.testing.assert_array_equal(tables.orders(nodes, 3, None), [1, 1, 2, 3, 1])


def test_a_step_to_the_data_is_their_prediction(smooth):
  t = np.append(times(smooth), 0.0)
  for solver in (sampling.DPMSolverPP(order=3), sampling.UniPC(order=3)):
    table = solver.plan(smooth, t).table
    last = np.zeros(table.outputs.shape[1])
    last[0] = grids.on_host(smooth.alpha, 0.0)
    if not float(smooth.sigma(0.0)):  # VE keeps some noise
      np.testing.assert_allclose(table.outputs[-1], last, rtol=1e-12)
      assert table.state[-1] == 0


def test_a_step_from_nothing_but_noise_is_finite():
  # alpha = 0: the last level of a schedule of zero terminal SNR.
  flow = processes.RectifiedFlow()
  t = np.asarray([1.0, 0.8, 0.5, 0.3])
  table = sampling.UniPC(order=3).plan(flow, t).table
  for column in (table.state, table.outputs, *table.correction):
    assert np.isfinite(column).all()
  np.testing.assert_allclose(table.outputs[0, 0], 0.2, rtol=1e-12)
