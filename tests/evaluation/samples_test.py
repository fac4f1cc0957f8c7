"""Image i is a function of (seed, i): of nothing else that is asked for."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from difjax import (
  data,
  denoising,
  errors,
  networks,
  objectives,
  processes,
  sampling,
  training,
)
from difjax.evaluation import plots, samples
from tests import analytic, tiny

SHAPE = (8, 8, 1)
STOCHASTIC = sampling.FixedGrid(
  solver=sampling.DDIM(eta=1.0), grid=sampling.Uniform(steps=4)
)


def use_devices(patch, n):
  """Lets sampling see the first n devices."""
  patch.setattr(jax, 'local_devices', lambda **_: jax.devices()[:n])


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


@pytest.fixture(scope='module')
def model():
  """A DiT whose parameters are random throughout, so that all of it counts."""
  network = networks.DiT(
    patch=(4, 4), width=16, depth=1, heads=2, num_classes=10
  )
  objective = objectives.Denoising(
    process=processes.VP(), target=denoising.V(), network=network,
    inputs=denoising.InputMap(noise=denoising.Linear(factor=999.0)),
  )  # fmt: skip
  probe = {'image': jnp.zeros((1, *SHAPE)), 'label': jnp.zeros(1, jnp.int32)}
  shapes = jax.eval_shape(objective.init, jax.random.key(0), probe)
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(0.2 * rng.standard_normal(x.shape), x.dtype)
  return objective, jax.tree.map(draw, shapes)


@pytest.fixture
def made(model):
  """Generates images of some indices, in blocks of 4 on one device."""
  objective, params = model

  def generate(indices, labels=None, devices=1, **changes):
    labels = indices if labels is None else labels
    with pytest.MonkeyPatch.context() as patch:
      use_devices(patch, devices)
      images, _ = samples.generate(
        objective, STOCHASTIC, params, shape=SHAPE,
        indices=np.asarray(indices), labels=np.asarray(labels) % 10,
        **{'seed': 3, 'size': 4, **changes},
      )  # fmt: skip
    return images

  return generate


def test_how_many_are_asked_for_does_not_matter(made):
  whole = made(range(10))
  np.testing.assert_array_equal(made(range(3)), whole[:3])
  np.testing.assert_array_equal(made([6]), whole[6:7])


def test_the_first_index_and_the_order_do_not_matter(made):
  whole = made(range(10))
  np.testing.assert_array_equal(made(range(5, 9)), whole[5:9])
  mixed = [7, 2, 9, 0, 5]
  np.testing.assert_array_equal(made(mixed), whole[mixed])


def test_the_labels_beside_it_do_not_matter(made):
  labels = np.array([0, 3, 3, 3, 4, 9, 9])
  found, whole = made(range(7), labels), made(range(7))
  same = labels == np.arange(7)
  np.testing.assert_array_equal(found[same], whole[same])
  assert (found[~same] != whole[~same]).any(axis=(1, 2, 3)).all()


def test_the_number_of_devices_does_not_matter(made):
  """Three blocks on one device, and on three."""
  np.testing.assert_array_equal(made(range(10), devices=8), made(range(10)))


def test_the_seed_and_the_index_do_matter(made):
  images = np.concatenate([made(range(6)), made(range(6), seed=4)])
  labelled_alike = made(range(6), labels=[1] * 6)
  assert len(np.unique(images.reshape(12, -1), axis=0)) == 12
  assert len(np.unique(labelled_alike.reshape(6, -1), axis=0)) == 6


def test_the_block_hardly_matters(model):
  """As floats within 1e-4; at most 0.1 % of bytes differ, by one level."""
  objective, params = model
  indices = np.arange(48)

  def floats(size):
    parts = [
      samples.compiled()(
        params, jnp.uint32(3), part, part % 10,
        objective=objective, sampler=STOCHASTIC, shape=SHAPE,
      )[0]
      for part in np.split(indices, 48 // size)
    ]  # fmt: skip
    return np.concatenate(parts)

  small, large = floats(4), floats(48)
  np.testing.assert_allclose(small, large, atol=1e-4)
  bytes_small, bytes_large = data.to_bytes(small), data.to_bytes(large)
  step = np.abs(bytes_small.astype(int) - bytes_large)
  assert step.max() <= 1
  assert (step > 0).mean() <= 1e-3


@dataclasses.dataclass(frozen=True)
class Exact:
  """An objective that knows the denoiser of Gaussian data."""

  process: processes.Process = processes.VP()
  law: analytic.Gaussian = analytic.Gaussian(mean=-0.4, std=0.2)
  evaluations: int = 1

  def denoiser(self, params, cond=None):
    """Returns the exact one, shifted by `params`."""
    exact = self.law.denoiser(self.process)
    return lambda x, t: jax.tree.map(lambda v: v + params, exact(x, t))


def exact(indices, params=0.0, objective=None, **changes):
  fields = dict(
    shape=(4, 4, 3), indices=np.asarray(indices), labels=None, size=256
  )
  with pytest.MonkeyPatch.context() as patch:
    use_devices(patch, 1)
    return samples.generate(
      objective or Exact(), changes.pop('sampler', STOCHASTIC), params,
      **{**fields, **changes},
    )  # fmt: skip


def test_samples_of_the_exact_denoiser_have_the_datas_moments():
  """Heun's method; 48 numbers an image, 20 a standard error of the mean."""
  sampler = sampling.FixedGrid(
    solver=sampling.Heun(), grid=sampling.LogSNR(steps=20)
  )
  images, evaluations = exact(range(256), sampler=sampler)
  assert images.dtype == np.uint8
  assert images.shape == (256, 4, 4, 3)
  assert set(evaluations) == {39}
  x = images / 127.5 - 1
  n = x.size
  assert abs(x.mean() + 0.4) < 4 * 0.2 / np.sqrt(n) + 0.002
  assert abs(x.std() - 0.2) < 4 * 0.2 / np.sqrt(2 * n) + 0.002


def test_adaptive_evaluations_are_counted_for_each_image():
  sampler = sampling.AdaptiveODE(rtol=1e-3, atol=1e-3)
  images, evaluations = exact(range(6), sampler=sampler, size=6)
  assert evaluations.shape == (6,)
  assert evaluations.min() > 5
  alone, _ = exact([4], sampler=sampler, size=6)
  np.testing.assert_array_equal(alone[0], images[4])


def test_an_image_that_is_not_finite_is_named():
  @dataclasses.dataclass(frozen=True)
  class Broken(Exact):
    def denoiser(self, params, cond=None):
      return lambda x, t: jax.tree.map(
        lambda v: jnp.where(x.mean() > 1e9, v, jnp.nan), x
      )

  with pytest.raises(errors.NonFiniteError, match='image 7 of seed 2 is not'):
    exact([7, 8], jnp.float32(jnp.nan), seed=2, size=2)


def test_progress_is_told():
  told = []
  exact(range(10), size=4, advance=told.append)
  assert told == [4, 4, 2]


@pytest.mark.parametrize(
  ('classes', 'labels'), [(3, [2, 0, 1, 2]), (0, None)]
)
def test_default_labels_go_round(classes, labels):
  found = samples.default_labels(np.arange(5, 9), classes)
  assert labels == (None if found is None else found.tolist())


class Gallery:
  """A writer that keeps what it is given."""

  def __init__(self):
    self.images = []

  def image(self, step, name, image):
    """Keeps."""
    self.images.append((step, name, image))


def test_a_grid_now_and_then(model, tmp_path):
  objective, params = model
  gallery = Gallery()
  run = training.Run(
    objective=objective, workdir=tmp_path, writers=(gallery,),
    mesh=training.Mesh().build(),
    pipeline=data.Pipeline(source=data.Digits(), batch_size=8, threads=1),
  )  # fmt: skip
  zeros = jax.tree.map(jnp.zeros_like, params)
  state = training.TrainState(
    step=7, params=zeros, opt_state=(), ema={'main': params}, aux=(),
    skipped=0, streak=0,
  )  # fmt: skip
  hook = samples.SampleGrid(sampler=STOCHASTIC, rows=2, every=1, seed=3)
  hook(run, 7, state)
  ((step, name, grid),) = gallery.images
  assert (step, name) == (7, 'samples')
  with Image.open(tmp_path / 'samples' / '00000007.png') as picture:
    pixels = np.asarray(picture)
  np.testing.assert_array_equal(pixels.reshape(grid.shape), grid)
  # The four images are those of the average, not of the raw parameters.
  images, _ = samples.generate(
    objective, STOCHASTIC, params, shape=SHAPE, indices=np.arange(4),
    labels=np.arange(4), seed=3, size=4,
  )  # fmt: skip
  np.testing.assert_array_equal(grid, plots.grid(images, 2))


@pytest.mark.parametrize('coupled', [False, True])
def test_coupled_images_are_refused(coupled):
  sampler = sampling.CorrectedGrid(
    predictor=sampling.ReverseDiffusion(),
    corrector=sampling.Langevin(coupled=coupled),
    grid=sampling.Uniform(steps=4),
  )
  if coupled:
    with pytest.raises(errors.ConfigError, match='couples the images'):
      samples.check_independent(sampler)
  else:
    samples.check_independent(sampler)
