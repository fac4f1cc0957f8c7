"""The exported program: any solver, any guide, any size."""

from __future__ import annotations

import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import export

from difjax import denoising, errors, objectives, processes, sampling
from difjax.evaluation import controlled, guided, samples, trained
from difjax.export import stablehlo
from difjax.interop import safetensors_file
from tests.export import files

GRID = sampling.Karras(steps=3)


class Tables(nn.Module):
  """Rows of two large tables by class, the second in bfloat16.

  Attributes:
    rows: of each.
    width: numbers of a row.
  """

  rows: int = 10
  width: int = 8

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Returns x times what the row says."""
    label = jnp.zeros(x.shape[0], int) if not cond else cond['label']
    shape, normal = (self.rows, self.width), nn.initializers.normal(1e-2)
    wide = self.param('wide', normal, shape)
    half = self.param('half', normal, shape, jnp.bfloat16)
    gain = wide[label].mean(-1) + half[label].astype(jnp.float32).mean(-1)
    return x * (1 + gain[:, None, None, None]) * jnp.cos(noise)[
      :, None, None, None]


def led(rows=10, width=8, params=None):
  """A model of that network."""
  network = Tables(rows=rows, width=width)
  objective = objectives.Denoising(
    process=processes.EDM(), target=denoising.Preconditioned(data_std=0.5),
    network=network, label_dropout=0.1,
    inputs=denoising.InputMap(noise=denoising.LogSigma()),
  )  # fmt: skip
  batch = {'image': np.zeros((1, 4, 4, 3), np.float32),
           'label': np.zeros(1, np.int32)}
  params = params or objective.init(jax.random.key(0), batch)
  return controlled.Led(trained.Trained(
    objective=objective, params=params, shape=(4, 4, 3), num_classes=rows,
    class_names=(), step=1, config={},
  ))  # fmt: skip


def expected(given, way, indices, seed=0):
  """The images of a block of `difjax sample`."""
  model = given.model
  x, _ = samples.block(
    model.params, jnp.uint32(seed), jnp.asarray(indices, jnp.int32),
    jnp.asarray(indices % model.num_classes, jnp.int32), jnp.float32(0),
    objective=model.objective, sampler=way, shape=model.shape,
  )  # fmt: skip
  return np.asarray(x)


SAMPLERS = {
  'Heun': sampling.FixedGrid(solver=sampling.Heun(), grid=GRID),
  'random': sampling.FixedGrid(solver=sampling.DDIM(eta=1.0), grid=GRID),
  'multistep': sampling.FixedGrid(solver=sampling.DPMSolverPP(), grid=GRID),
}


@pytest.mark.parametrize('way', SAMPLERS.values(), ids=SAMPLERS)
def test_the_bits_of_sample(way):
  """After serialisation, and of two sizes of a batch."""
  pytest.importorskip('flatbuffers', reason='pip install flatbuffers')
  given = led()
  text = stablehlo.program(given, way).serialize()
  run = jax.jit(export.deserialize(text).call)
  for size in (5, 3):
    indices = np.arange(2, 2 + size, dtype=np.int32)
    found = run(
      stablehlo.arguments(given), np.uint32(7), indices, indices % 10)
    np.testing.assert_array_equal(
      found, expected(given, way, indices, seed=7))


@pytest.mark.parametrize(
  'guide',
  [
    guided.ClassifierFree(scale=2.0, interval=(0.1, 5.0)),
    guided.Threshold(bound=denoising.Dynamic()),
  ],
)
def test_guides_export(guide):
  given = led()
  objective = given.model.objective
  given = controlled.Led(guide(given.model))
  exported = stablehlo.program(given, SAMPLERS['Heun'])
  assert exported.platforms == ('cpu', 'cuda', 'tpu')
  assert objective.null_label


def test_callbacks_are_refused():
  """As diffrax has where `difjax export` has not left them out."""
  way = sampling.AdaptiveODE(rtol=1e-2, atol=1e-2)
  with pytest.raises(errors.ConfigError, match='cannot be exported'):
    stablehlo.program(led(), way)


def test_a_fixed_batch():
  exported = stablehlo.program(led(), SAMPLERS['Heun'], batch=4)
  assert exported.out_avals[0].shape == (4, 4, 4, 3)


def test_numbers_of_parameters_are_not_in_the_program():
  pytest.importorskip('flatbuffers', reason='pip install flatbuffers')
  small, large = (
    len(stablehlo.program(led(width=width), SAMPLERS['Heun']).serialize())
    for width in (8, 80_000))
  assert abs(large - small) < 1_000


def test_the_reader_maps_the_file(tmp_path):
  """Types other than float32 too; the numbers begin at multiples of 64."""
  pytest.importorskip('flatbuffers', reason='pip install flatbuffers')
  file, given = tmp_path / 'x.difjax', led()
  stablehlo.write(
    file, given, stablehlo.program(given, SAMPLERS['Heun']), {'ema': 'main'})
  archive = zipfile.ZipFile(file)
  with archive, archive.open(stablehlo.PARAMETERS) as member:
    arrays = safetensors_file.read(member)
  assert arrays['model/half'].dtype == jnp.bfloat16
  for name, array in stablehlo.arguments(given).items():
    np.testing.assert_array_equal(arrays[name], array)
  _, found = files.run(file, tmp_path / 'found.npz', seed=3)
  np.testing.assert_allclose(
    found, expected(given, SAMPLERS['Heun'], np.arange(64), seed=3), rtol=0,
    atol=1e-5 * abs(found).max())


@pytest.mark.slow
def test_more_than_two_gigabytes(tmp_path):
  """Beyond what a protocol buffer, and a zip of 32 bits a count, can hold."""
  pytest.importorskip('flatbuffers', reason='pip install flatbuffers')
  rng, rows, width = np.random.default_rng(0), 1_000, 380_000
  wide = rng.standard_normal((rows, width), np.float32)
  params = {'wide': wide, 'half': wide.astype(jnp.bfloat16)}
  given = led(rows=rows, width=width, params=params)
  exported = stablehlo.program(given, SAMPLERS['Heun'])
  file = tmp_path / 'large.difjax'
  stablehlo.write(file, given, exported, {})
  assert file.stat().st_size > 2**31
  indices = np.arange(900, 964, dtype=np.int32)
  images = expected(given, SAMPLERS['Heun'], indices)
  assert np.isfinite(images).all()
  del wide, params, given
  _, found = files.run(
    file, tmp_path / 'found.npz', indices='np.arange(900, 964, dtype="i4")')
  np.testing.assert_allclose(
    found, images, rtol=0, atol=1e-5 * abs(images).max())
