r"""Coefficient tables of linear multistep solvers, in float64 on the host.

With lambda = log(alpha / sigma), half the log-SNR, the probability-flow ODE of
x = alpha x_0 + sigma eps is an integral over either unknown,

  d(x / sigma) = x_0 d(alpha / sigma),   d(x / alpha) = eps d(sigma / alpha),

or, m being what is integrated, c what x is divided by and o the other scale,

  d(x / c) = m d(o / c),   m = x_0: c = sigma, o = alpha,                 (1)
                           m = eps: c = alpha, o = sigma.

The reverse SDE with its noise scaled by eta has the same form, for m = x_0 with

  c = sigma e^(-eta lambda),   o = alpha,                                 (2)

and in a step of h = lambda_s - lambda_t draws noise of variance C^2 =
sigma_s^2 (1 - e^(-2 eta h)). Always o / c = e^(r lambda), with a rate r = -1
for eps and 1 + eta for x_0.

A multistep solver takes m for the polynomial sum_k p_k z^k through its last
values, where z = (u - u_t) / (u_s - u_t) in some coordinate u: 0 at t, 1 at s.
Then

  x_s = (c_s / c_t) x_t + sum_k M_k p_k + C noise,                        (3)
  M_k = c_s int_t^s z^k d(o / c),   M_0 = o_s - (c_s / c_t) o_t,          (4)

and as the p_k are linear in the values m_j at the nodes z_j, a table's rows are

  x_s = A x_t + sum_j B_j m_j + C noise,   sum_j B_j z_j^k = M_k.         (5)

Solvers differ in m, in u, and in how true they are to M_k. Sources: (1) Lu et
al. 2022, DPM-Solver, proposition 3.1, and DPM-Solver++, proposition 4.1; (2)
DPM-Solver++, on diffusion SDEs; (3) to (5) are Zhang & Chen 2023, DEIS, section
3, and Zhao et al. 2023, UniPC, section 3, in one notation.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol

import numpy as np

from difjax.processes import base
from difjax.sampling import grids
from difjax.typing import Array

_PLACES, _SHARES = np.polynomial.legendre.leggauss(48)  # of [-1, 1]


class Correction(NamedTuple):
  """Rows that mend x before a step: P x + A x_before + sum_j B_j m_j.

  Attributes:
    kept: P [steps]; 1 where nothing is mended.
    state: A [steps].
    outputs: B [steps, K], newest first.
  """

  kept: Array
  state: Array
  outputs: Array


class Table(NamedTuple):
  """The rows of a solver (5).

  Attributes:
    state: A [steps].
    outputs: B [steps, K], newest first.
    drawn: C [steps], None where nothing is drawn.
    correction: None where nothing is mended.
  """

  state: Array
  outputs: Array
  drawn: Array | None = None
  correction: Correction | None = None


class Levels(NamedTuple):
  """A grid of N times as (1) and (2) see it.

  Attributes:
    process: the process.
    times: [N], decreasing.
    half: lambda [N].
    state: c_s / c_t [N - 1].
    total: M_0 [N - 1].
    end: o_s [N - 1].
    drawn: C [N - 1].
    rate: r.
  """

  process: base.Process
  times: np.ndarray
  half: np.ndarray
  state: np.ndarray
  total: np.ndarray
  end: np.ndarray
  drawn: np.ndarray
  rate: float


def levels(
  process: base.Process,
  times: np.ndarray,
  *,
  data: bool = True,
  eta: float = 0.0,
) -> Levels:
  """Reads a process at the times of a grid.

  Args:
    process: the process.
    times: [N], decreasing; the last may be 0, the data.
    data: m is x_0 rather than eps.
    eta: the scale of the reverse SDE's noise, for m = x_0.
  """
  times = np.asarray(times, np.float64)
  alpha = grids.on_host(process.alpha, times)
  sigma = grids.on_host(process.sigma, times)
  half = 0.5 * grids.on_host(process.logsnr, times)
  c, o = (sigma, alpha) if data else (alpha, sigma)
  with np.errstate(invalid='ignore', divide='ignore'):
    decay = eta * np.diff(half) if eta else 0 * sigma[1:]
    state = c[1:] / c[:-1] * np.exp(-decay)
    total = o[1:] - state * o[:-1]
  return Levels(
    process, times, half, state, total, end=o[1:],
    drawn=sigma[1:] * np.sqrt(-np.expm1(-2 * decay)),
    rate=1.0 + eta if data else -1.0,
  )  # fmt: skip


class Coordinate(Protocol):
  """The variable u in which m is taken for a polynomial."""

  def nodes(self, levels: Levels) -> np.ndarray:
    """Returns u [N]."""

  def moments(self, levels: Levels, count: int) -> np.ndarray:
    """Returns M_0, M_1, ... [N - 1, count] (4)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSNRCoordinate:
  """u = lambda."""

  def nodes(self, levels: Levels) -> np.ndarray:
    """Returns u [N]."""
    return levels.half

  def moments(self, levels: Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count] (4)."""
    return _integrated(levels, 0.5 * (1 + _PLACES), count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeCoordinate:
  """u = t."""

  def nodes(self, levels: Levels) -> np.ndarray:
    """Returns u [N]; not a number where lambda is infinite."""
    return np.where(np.isfinite(levels.half), levels.times, np.nan)

  def moments(self, levels: Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count] (4)."""
    first, span = levels.half[:-1, None], np.diff(levels.half)[:, None]
    with np.errstate(invalid='ignore'):
      logsnr = 2 * (first + 0.5 * (1 + _PLACES) * span)
    times = grids.on_host(levels.process.time_of_logsnr, logsnr)
    past = times - levels.times[:-1, None]
    return _integrated(levels, past / np.diff(levels.times)[:, None], count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatioCoordinate:
  """u = sigma / alpha, in which the integral over eps has no kernel."""

  def nodes(self, levels: Levels) -> np.ndarray:
    """Returns u [N]."""
    return np.exp(-levels.half)

  def moments(self, levels: Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count] (4), for m = eps."""
    return constant(levels, count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCoordinate:
  """u = the number of the step, as though the grid were even."""

  def nodes(self, levels: Levels) -> np.ndarray:
    """Returns u [N]."""
    return np.arange(len(levels.times), dtype=np.float64)

  def moments(self, levels: Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count] of an even grid in o / c."""
    return constant(levels, count)


def constant(levels: Levels, count: int) -> np.ndarray:
  """Returns M_k [N - 1, count] where o / c is linear in u: M_0 / (k + 1)."""
  return levels.total[:, None] / np.arange(1, count + 1)


def _integrated(levels: Levels, z: np.ndarray, count: int) -> np.ndarray:
  """Integrates (4) by Gauss's rule over lambda, given z [N - 1, places]."""
  h = np.diff(levels.half)[:, None]
  with np.errstate(invalid='ignore', over='ignore'):
    kernel = np.exp(-0.5 * levels.rate * h * (1 - _PLACES))
    weight = 0.5 * levels.rate * levels.end[:, None] * h * _SHARES * kernel
    higher = [np.sum(weight * z**k, axis=1) for k in range(1, count)]
  return np.stack([levels.total, *higher], axis=1)


class Rule(Protocol):
  """What a solver makes of m."""

  def nodes(self, levels: Levels) -> np.ndarray:
    """Returns u [N]."""

  def moments(self, levels: Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count] of a rule with so many nodes."""


def orders(nodes: np.ndarray, order: int, final: int | None) -> np.ndarray:
  """Returns how many values of m each step takes, [N - 1].

  The first steps have no more than have been computed. A step from or to an
  infinite u takes one, and no step looks back to an infinite u.

  Args:
    nodes: u [N].
    order: the most.
    final: the most at the last step, and one more at each step before it.
  """
  steps = len(nodes) - 1
  past = np.arange(1, steps + 1) - np.argmax(np.isfinite(nodes))
  most = np.minimum(order, past)
  if final is not None:
    most = np.minimum(most, final + np.arange(steps)[::-1])
  finite = np.isfinite(nodes[:-1]) & np.isfinite(nodes[1:])
  return np.where(finite, most, 1)


def coefficients(
  rule: Rule,
  levels: Levels,
  orders: np.ndarray,
  width: int,
  *,
  ahead: bool = False,
) -> np.ndarray:
  """Solves (5) for every step.

  Args:
    rule: the nodes and moments.
    levels: the grid.
    orders: values of m that each step takes, [N - 1]; none where 0.
    width: K.
    ahead: m at the step's end is a node too, the newest.

  Returns:
    B [N - 1, K], newest first.
  """
  nodes, more = rule.nodes(levels), int(ahead)
  table = np.zeros((len(orders), width))
  for n in {*orders} - {0}:
    i = np.flatnonzero(orders == n)
    known = np.tile([1.0, 0.0][1 - more :], (len(i), 1))
    with np.errstate(invalid='ignore'):
      past = nodes[i[:, None] - np.arange(1, n)] - nodes[i, None]
      z = np.hstack([known, past / (nodes[i + 1] - nodes[i])[:, None]])
    powers = z[:, None] ** np.arange(n + more)[:, None]
    moments = rule.moments(levels, n + more)[i, :, None]
    table[i, : n + more] = np.linalg.solve(powers, moments)[..., 0]
  return table
