"""A set is the same bytes whoever drew it, and hardly follows the block."""

from __future__ import annotations

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import errors, processes, sampling
from difjax.denoising import prediction
from difjax.evaluation import quantisers, sample_set, samples
from tests import analytic, tiny

STOCHASTIC = sampling.FixedGrid(
  solver=sampling.DDIM(eta=1.0), grid=sampling.Uniform(steps=4)
)


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


@dataclasses.dataclass(frozen=True)
class Exact:
  """An objective that knows the denoiser of Gaussian data, moved by class."""

  process: processes.Process = processes.VP()
  evaluations: int = 1

  def denoiser(self, params, cond=None):
    """Returns it, with mean -0.4 + label / 10; NaN where that is asked for."""
    mean = cond['label'][:, None, None, None] / 10 - 0.4
    exact = analytic.Gaussian(mean=-0.4, std=0.2).denoiser(self.process)

    def moved(x, t):
      found = exact(x, t)
      return prediction.Prediction(found.x0 * params + mean, found.eps)

    return moved


def begun(folder, size=4, num=23, first=5):
  found = sample_set.SampleSet(
    folder=folder, shape=(4, 4, 1), num=num, first=first, size=size,
    labelled=True, num_classes=10, class_names=(), protocol={'block': size},
  )  # fmt: skip
  found.begin()
  return found


class Killed(BaseException):
  """In the place of SIGKILL."""


def fill(found, part=0, parts=1, devices=1, killed_after=None, **changes):
  """Fills a set as one of several processes, which may be killed."""
  write, done = sample_set.SampleSet.write, []

  def mortal(self, number, block):
    if len(done) == killed_after:
      raise Killed
    done.append(number)
    write(self, number, block)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, 'local_devices', lambda **_: jax.devices()[:devices])
    patch.setattr(sample_set.SampleSet, 'write', mortal)
    with contextlib.suppress(Killed):
      samples.fill(
        found, Exact(), STOCHASTIC, jnp.float32(changes.pop('params', 0.5)),
        part=part, parts=parts, seed=3,
        **{'labels': samples.in_turn([3, 7], 10), **changes},
      )  # fmt: skip
  return done


def files(found):
  return {p.name: p.read_bytes() for p in (found.folder / 'blocks').iterdir()}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A set that nobody disturbed."""
  found = begun(tmp_path_factory.mktemp('whole'))
  assert fill(found) == [1, 2, 3, 4, 5, 6]
  return found


def test_killed_and_resumed_with_other_processes(whole, tmp_path):
  found = begun(tmp_path)
  assert fill(found, killed_after=1) == [1]
  assert fill(found, 1, 2, devices=2, killed_after=1) == [3]
  assert fill(found, 0, 2, devices=2, killed_after=1) == [2]
  drawn = [fill(found, part, 3, devices=2) for part in range(3)]
  assert drawn == [[6], [4], [5]]
  assert files(found) == files(whole)
  indices = np.concatenate([block.indices for block in found])
  assert indices.tolist() == list(range(5, 28))


def test_more_images_are_the_same_and_more(whole, tmp_path):
  """The whole block is drawn, whatever part of it is wanted."""
  found = begun(tmp_path, num=6, first=7)
  fill(found)
  images = np.concatenate([block.images for block in found])
  every = np.concatenate([block.images for block in whole])
  np.testing.assert_array_equal(images, every[2:8])


def test_labels_and_evaluations_are_kept(whole):
  for block in whole:
    assert block.labels.tolist() == [(3, 7)[i % 2] for i in block.indices]
    assert set(block.evaluations) == {4}


def test_another_block_hardly_matters(tmp_path):
  """At most 0.1 % of bytes differ, by one grey level: 10,240 of them."""
  sets = []
  for size in (4, 160):
    found = begun(tmp_path / str(size), size=size, num=640, first=0)
    fill(found)
    sets.append(np.concatenate([block.images for block in found]).astype(int))
  step = np.abs(sets[0] - sets[1])
  assert step.max() <= 1
  assert (step > 0).mean() <= 1e-3
  assert len(np.unique(sets[0].reshape(640, -1), axis=0)) == 640


def test_the_quantiser_is_the_one_asked_for(whole, tmp_path):
  """Truncated bytes are the nearest, or one below: as often as not."""
  found = begun(tmp_path)
  fill(found, quantise=quantisers.score_sde)
  kept = lambda set_: np.concatenate([b.images for b in set_]).astype(int)
  below = kept(whole) - kept(found)
  assert set(np.unique(below)) == {0, 1}
  assert abs(below.mean() - 0.5) < 0.15


def test_an_image_that_is_not_finite_is_named(tmp_path):
  found = begun(tmp_path)
  with pytest.raises(errors.NonFiniteError, match='image 5 of seed 3 is not'):
    fill(found, params=np.nan)
  assert found.missing() == list(found.blocks)


@pytest.mark.parametrize(('labels', 'expected'), [
  ([], [8, 9, 0, 1]), ([3, 7], [3, 7, 3, 7]), ([4], [4] * 4),
])  # fmt: skip
def test_labels_in_turn(labels, expected):
  found = samples.in_turn(labels, 10)(np.arange(8, 12))
  assert found.tolist() == expected


def test_labels_of_a_model_without_any():
  assert samples.in_turn([], 0)(np.arange(3)) is None
  with pytest.raises(errors.ConfigError, match='no class 0: the model has 0'):
    samples.in_turn([0], 0)
