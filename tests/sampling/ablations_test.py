"""EDM's ablation sampler on official networks: a process, a grid, a solver."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import processes, sampling
from difjax.interop import imported

KEPT = pathlib.Path(__file__).parents[1] / 'golden' / 'edm'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """How an official run is said here.

  Attributes:
    network: of which golden.
    process: its schedule and scaling.
    grid: its discretisation.
    solver: of all steps but the last, which is Euler's.
  """

  network: str
  process: object
  grid: object
  solver: object = sampling.Heun()


VP = functools.partial(
  Case, network='vp', process=processes.VP(t_min=1e-3)
)
VE = functools.partial(Case, network='ve', process=processes.Brownian())
CASES = {  # official name -> case
  'abl_vp_euler': VP(grid=sampling.Uniform(steps=12), solver=sampling.Euler()),
  'abl_vp_heun': VP(
    grid=sampling.Uniform(steps=8), solver=sampling.Heun(alpha=0.8)
  ),
  'abl_ve_euler': VE(grid=sampling.LogSNR(steps=12), solver=sampling.Euler()),
  'abl_ve_heun': VE(grid=sampling.LogSNR(steps=8)),
  'abl_iddpm_heun': Case(
    network='iddpm', process=processes.EDM(),
    grid=sampling.Matched(
      process=processes.CosineBetas(), grid=sampling.BoundedLevels(steps=7)
    ),
  ),
}  # fmt: skip


@functools.cache
def golden(network):
  """The network's model, and the arrays that go with it; see `KEPT`."""
  file, arrays = KEPT / f'{network}.pkl', KEPT / f'{network}_ablations.npz'
  if not (file.is_file() and arrays.is_file()):
    folder = SHARED / f'edm_{network}'
    file, arrays = folder / 'network-nosrc.pkl', folder / 'io.npz'
  if not file.is_file():
    pytest.skip(f'{file} is not there: no official outputs to compare with')
  return imported.load(file), np.load(arrays)


@functools.cache
def denoiser(network, dtype):
  """The network's denoiser in a precision, on the network's own process."""
  model, _ = golden(network)
  params = jax.tree.map(lambda leaf: leaf.astype(dtype), model.params)
  return jax.jit(lambda x, t: model.objective.denoiser(params)(x, t))


def sampled(name, dtype):
  """Returns where the official sampler ends, NCHW, in one precision."""
  case = CASES[name]
  model, recorded = golden(case.network)
  seen = sampling.carried(
    denoiser(case.network, dtype), model.objective.process, case.process
  )
  times = case.grid(case.process)
  stops = jnp.asarray([*times, 0.0], dtype)
  x = jnp.asarray(np.moveaxis(recorded['latents'], 1, -1), dtype)
  x = case.process.sigma(stops[0]) * x
  # A loop in Python: one program of a network serves all solvers.
  for i in range(len(times)):
    solver = case.solver if i < len(times) - 1 else sampling.Euler()
    x, _ = solver.step(
      seen, case.process, (), x, stops[i], stops[i + 1], None
    )
  return np.moveaxis(np.asarray(x), -1, 1)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', CASES)
def test_samples_are_the_official_ones(name):
  _, recorded = golden(CASES[name].network)
  exact = recorded[f'{name}__f64']
  found = sampled(name, np.float64)
  np.testing.assert_allclose(
    found, exact, rtol=0, atol=1e-6 * np.abs(exact).max()
  )


@pytest.mark.parametrize('name', CASES)
def test_float32_is_within_the_official_tolerance(name):
  _, recorded = golden(CASES[name].network)
  exact = recorded[name]
  rounding = np.abs(exact - recorded[f'{name}__f64']).max()
  found = sampled(name, np.float32)
  assert found.dtype == np.float32
  tolerance = 10 * rounding + 2e-6 * np.abs(exact).max()
  np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance)
