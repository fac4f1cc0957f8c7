"""The exported program: any solver, any guide, any size."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax import export

from difjax import compilation, denoising, errors, sampling
from difjax.evaluation import controlled, guided
from difjax.export import stablehlo
from tests.export import tables

GRID = tables.HEUN.grid
SAMPLERS = {
  'Heun': tables.HEUN,
  'random': sampling.FixedGrid(solver=sampling.DDIM(eta=1.0), grid=GRID),
  'multistep': sampling.FixedGrid(solver=sampling.DPMSolverPP(), grid=GRID),
}


@pytest.mark.parametrize('way', SAMPLERS.values(), ids=SAMPLERS)
def test_the_bits_of_sample(way):
  """After serialisation, of one platform and size."""
  pytest.importorskip('flatbuffers', reason='pip install flatbuffers')
  given, indices = tables.led(), np.arange(2, 7, dtype=np.int32)
  program = stablehlo.program(given, way, batch=5, platforms=['cpu'])
  run = jax.jit(
    export.deserialize(program.serialize()).call,
    compiler_options=compilation.options())
  found = run(
    stablehlo.arguments(given), np.uint32(7), indices, indices % 10)
  np.testing.assert_array_equal(
    found, tables.expected(given, way, indices, seed=7))


def test_any_number_on_any_platform():
  given, way = tables.led(), SAMPLERS['random']
  exported = stablehlo.program(given, way)
  assert exported.platforms == ('cpu', 'cuda', 'tpu')
  run = jax.jit(exported.call)
  for size in (5, 3):
    indices = np.arange(2, 2 + size, dtype=np.int32)
    found = run(
      stablehlo.arguments(given), np.uint32(7), indices, indices % 10)
    whole = tables.expected(given, way, indices, seed=7)
    np.testing.assert_allclose(
      found, whole, rtol=0, atol=1e-6 * abs(whole).max())


@pytest.mark.parametrize(
  'guide',
  [
    guided.ClassifierFree(scale=2.0, interval=(0.1, 5.0)),
    guided.Threshold(bound=denoising.Dynamic()),
  ],
)
def test_guides_export(guide):
  """For any number of images, though they compute with their sizes."""
  given = controlled.Led(guide(tables.led().model))
  (size, *_) = stablehlo.program(given, tables.HEUN).out_avals[0].shape
  assert not isinstance(size, int)


def test_callbacks_are_refused():
  """As diffrax has where `difjax export` has not left them out."""
  way = sampling.AdaptiveODE(rtol=1e-2, atol=1e-2)
  with pytest.raises(errors.ConfigError, match='cannot be exported'):
    stablehlo.program(tables.led(), way)


def test_numbers_of_parameters_are_not_in_the_program():
  pytest.importorskip('flatbuffers', reason='pip install flatbuffers')
  small, large = (
    len(stablehlo.program(tables.led(width=width), tables.HEUN).serialize())
    for width in (8, 80_000))
  assert abs(large - small) < 1_000
