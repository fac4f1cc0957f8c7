"""Multistep solvers: orders, official trajectories, and one another."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config, errors, processes, sampling
from difjax.sampling import multistep, tables
from difjax.sampling.samplers import counted
from tests import analytic
from tests.sampling import selected

pytestmark = pytest.mark.usefixtures('x64')
EDM, FLOW = processes.EDM(), processes.RectifiedFlow()
MIXTURE = analytic.Mixture()
PP, EPS, UNIPC = (
  sampling.DPMSolverPP, sampling.MultistepDPMSolver, sampling.UniPC
)  # fmt: skip
LOG = sampling.LogSNRCoordinate()
LU = 'Lu et al. 2022, DPM-Solver++, 4.2'
ORDERS = {  # (solver, order, source)
  'pp_1': (PP(order=1), 1, LU),
  'pp_2': (PP(), 2, LU),
  'pp_2_exact': (PP(midpoint=False), 2, LU),
  'pp_3': (PP(order=3), 3, LU),
  'pp_3_shipped': (PP(order=3, shipped=True), 2, 'sampling_eval.md, 0.1'),
  'eps_2': (EPS(), 2, 'Lu et al. 2022, DPM-Solver'),
  'eps_3': (EPS(order=3), 3, 'Lu et al. 2022, DPM-Solver'),
  'eps_3_shipped': (EPS(order=3, shipped=True), 2, 'sampling_eval.md, 0.1'),
  'unip_2': (UNIPC(corrector=False), 2, 'Zhao et al. 2023, corollary 3.2'),
  'unip_3': (
    UNIPC(order=3, corrector=False), 3, 'Zhao et al. 2023, corollary 3.2'
  ),
  'unipc_1': (UNIPC(order=1), 2, 'Zhao et al. 2023, theorem 3.1'),
  'unipc_2': (UNIPC(), 3, 'Zhao et al. 2023, theorem 3.1'),
  'unipc_2_bh1': (UNIPC(bh1=True), 3, 'Zhao et al. 2023, theorem 3.1'),
  'unipc_3': (UNIPC(order=3), 4, 'Zhao et al. 2023, theorem 3.1'),
  'unipc_2_eps': (UNIPC(data=False), 3, 'Zhao et al. 2023, theorem 3.1'),
  'unipc_3_eps': (
    UNIPC(order=3, data=False), 4, 'Zhao et al. 2023, theorem 3.1'
  ),
  'unipc_3_final': (UNIPC(order=3, final_order=1), 2, 'sampling_eval.md, 0.4'),
  'deis_2': (sampling.DEIS(order=2), 2, 'Zhang & Chen 2023, appendix C'),
  'deis_3': (sampling.DEIS(order=3), 3, 'Zhang & Chen 2023, appendix C'),
  'deis_3_log': (
    sampling.DEIS(order=3, coordinate=LOG), 3, 'Zhang & Chen 2023, appendix C'
  ),
  'lms_2': (sampling.LMS(order=2), 2, 'Adams and Bashforth'),
  'lms_3': (sampling.LMS(order=3), 3, 'Adams and Bashforth'),
  'lms_4': (sampling.LMS(), 4, 'Adams and Bashforth'),
  'ipndm_2': (sampling.IPNDM(order=2), 2, 'sampling_eval.md, 0.4'),
  'ipndm_4': (sampling.IPNDM(), 2, 'sampling_eval.md, 0.4'),
}  # fmt: skip
SIGMAS = (0.05, 60.0)  # of sigma / alpha: where the grids end, on any process
COUNTS = (160, 320, 640)
WIDTH = 4  # values of m: one shape of table for all solvers
PATHS = SIGMAS[1] * np.random.default_rng(0).normal(size=(8, 2))


def grid(process, n):
  low, high = SIGMAS
  return sampling.Karras(steps=n + 1, sigma_min=low, sigma_max=high)(process)


def padded(solver, process, times):
  """Returns the table of COUNTS[-1] steps and WIDTH values, mended or not.

  The added steps stay where they are.
  """
  table = solver.plan(process, times).table
  steps, width = table.outputs.shape
  more = COUNTS[-1] - steps
  rows = lambda column, value: np.pad(
    column, (0, more), constant_values=value
  )
  values = lambda block: np.pad(block, ((0, more), (0, WIDTH - width)))
  mend = table.correction
  if mend is None:
    still = np.zeros((steps, width))
    mend = tables.Correction(np.ones(steps), np.zeros(steps), still)
  mend = tables.Correction(
    rows(mend.kept, 1), rows(mend.state, 0), values(mend.outputs)
  )
  return tables.Table(
    rows(table.state, 1), values(table.outputs), correction=mend
  )


def run(solvers):
  """Returns x / alpha [processes, solvers, N, B, 2], compiled once."""
  length = COUNTS[-1] + 1
  pad = lambda times: np.pad(times, (0, length - len(times)), 'edge')
  every = [[grid(p, n) for n in COUNTS] for p in selected.EVERY]
  times = np.asarray([[pad(grid) for grid in grids] for grids in every])
  planned = [
    padded(solver, process, grid)
    for process, grids in zip(selected.EVERY, every, strict=True)
    for solver in solvers
    for grid in grids
  ]
  shape = len(selected.EVERY), len(solvers), len(COUNTS)
  stacked = jax.tree.map(
    lambda *leaves: np.stack(leaves).reshape(*shape, *leaves[0].shape), *planned
  )

  def one(number, table, times):
    process = selected.Selected(number=number)
    x = process.alpha(times[0]) * PATHS
    x = sampling.sample(
      MIXTURE.denoiser(process), process,
      multistep.Tabled(table, data=solvers[0].data), x, times,
      sampling.Recorded(x), denoise=False,
    )  # fmt: skip
    return x / process.alpha(times[-1])

  grids = jax.vmap(one, (None, 0, 0))
  rules = jax.vmap(grids, (None, 0, None))
  return np.asarray(jax.jit(jax.vmap(rules))(selected.NUMBERS, stacked, times))


@functools.cache
def every_end():
  found = {}
  for data in (True, False):
    names = [n for n, (solver, _, _) in ORDERS.items() if solver.data == data]
    ran = run([ORDERS[n][0] for n in names])
    found.update({name: ran[:, i] for i, name in enumerate(names)})
  return found


def ends(process, name):
  return every_end()[name][selected.EVERY.index(process)]


@functools.cache
def exact_ends():
  low, high = SIGMAS
  return np.asarray(MIXTURE.flow(EDM, PATHS, high, low, steps=6000))


@pytest.mark.parametrize('name', ORDERS)
def test_order(smooth, name):
  errors = np.abs(ends(smooth, name) - exact_ends()).max(axis=(1, 2))
  _, order, _ = ORDERS[name]
  near = 0.1 if order < 3 else 0.15
  slope = -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]
  assert slope == pytest.approx(order, abs=near)


@pytest.mark.parametrize(
  'name', [n for n in ORDERS if n not in ('deis_2', 'deis_3')]
)
def test_the_process_is_not_seen(smooth, name):
  # They are rules in (x / alpha, lambda): on the same log-SNR grid every
  # process gives what EDM gives.
  np.testing.assert_allclose(
    ends(smooth, name), ends(EDM, name), rtol=1e-10, atol=1e-11
  )


def test_order_one_is_ddim(smooth):
  times = grid(smooth, 6)
  x = jnp.asarray(PATHS * float(smooth.alpha(times[0])))
  with jax.disable_jit():  # a few steps, on many processes
    ends = [
      sampling.sample(
        MIXTURE.denoiser(smooth), smooth, solver, x, times, sampling.Recorded(x)
      )
      for solver in (sampling.DDIM(), PP(order=1), EPS(order=1))
    ]
  np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9, atol=1e-11)
  np.testing.assert_allclose(ends[2], ends[0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
  ('one', 'other'),
  [
    # bh2 of two values is the midpoint of 2M; of three, B is of no account.
    (UNIPC(corrector=False), PP()),
    (UNIPC(order=3, corrector=False), PP(order=3)),
    (UNIPC(order=3, corrector=False, data=False), EPS(order=3)),
    # On EDM time is sigma / alpha.
    (sampling.DEIS(), sampling.LMS()),
    (sampling.DEIS(coordinate=sampling.RatioCoordinate()), sampling.LMS()),
    (
      sampling.DEIS(order=2, coordinate=LOG), EPS(order=2, midpoint=False)
    ),
  ],
)  # fmt: skip
def test_the_same_rule_by_two_names(one, other):
  ours, theirs = (rule.plan(EDM, grid(EDM, 12)).table for rule in (one, other))
  np.testing.assert_allclose(ours.state, theirs.state, rtol=1e-12)
  np.testing.assert_allclose(ours.outputs, theirs.outputs, rtol=1e-9)


def test_ipndm_on_an_even_grid_is_lms():
  times = np.linspace(5.0, 0.5, 10)
  for order in (2, 3, 4):
    ours, exact = (
      kind(order=order).plan(EDM, times).table.outputs
      for kind in (sampling.IPNDM, sampling.LMS)
    )
    np.testing.assert_allclose(ours, exact, rtol=1e-9)


@pytest.mark.parametrize('denoise', [True, False])
@pytest.mark.parametrize('solver', [PP(order=3), UNIPC(order=3)])
def test_evaluations_are_counted_truly(solver, denoise):
  calls = []
  denoiser = counted(MIXTURE.denoiser(EDM), lambda: calls.append(1))
  sampler = sampling.FixedGrid(
    solver=solver, grid=sampling.Karras(steps=6), denoise=denoise
  )
  with jax.disable_jit():  # loops are Python's, and calls are calls
    x = jnp.asarray(PATHS[:1])
    _, evaluations = sampler(denoiser, EDM, x, sampling.Recorded(x))
  assert int(evaluations[0]) == len(calls) == 5 + denoise


def test_a_grid_of_one_time_is_the_denoiser():
  x, denoiser = jnp.asarray(PATHS), MIXTURE.denoiser(EDM)
  sampler = sampling.FixedGrid(solver=UNIPC(), grid=sampling.Karras(steps=1))
  found, _ = sampler(denoiser, EDM, x, sampling.Recorded(x))
  np.testing.assert_allclose(found, denoiser(x, 80.0).x0, rtol=1e-12)


def test_ending_at_the_data_is_ending_with_the_denoiser():
  # In log-SNR a step to sigma = 0 takes one value, which is x_0.
  times, x = grid(EDM, 8), jnp.asarray(PATHS)
  denoiser, noise = MIXTURE.denoiser(EDM), sampling.Recorded(x)
  for solver in (PP(order=3), EPS(order=3), UNIPC(order=3)):
    whole = sampling.sample(denoiser, EDM, solver, x, times, noise)
    ended = sampling.sample(
      denoiser, EDM, solver, x, np.append(times, 0.0), noise, denoise=False
    )
    np.testing.assert_allclose(ended, whole, rtol=1e-9, atol=1e-12)


def test_configs_describe_them():
  spec = {
    'type': 'sampling.FixedGrid',
    'grid': {'type': 'sampling.LogSNR', 'steps': 5},
    'solver': {
      'type': 'sampling.DEIS', 'order': 3,
      'coordinate': {'type': 'sampling.RatioCoordinate'},
    },
  }  # fmt: skip
  built = config.build(spec, trusted=False)
  assert built.solver == sampling.DEIS(
    order=3, coordinate=sampling.RatioCoordinate()
  )


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: PP(order=4), 'order must be at most 3, not 4'),
    (lambda: sampling.LMS(order=0), 'order must be at least 1, not 0'),
    (lambda: UNIPC(final_order=0), 'final_order must be at least 1'),
  ],
)
def test_what_makes_no_sense_is_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_a_grid_that_stops_is_refused():
  with pytest.raises(errors.ConfigError, match='a grid whose times decrease'):
    UNIPC().plan(EDM, np.asarray([1.0, 1.0]))
