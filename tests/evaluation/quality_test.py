"""Quality: real images score as copies do, noise does not."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import data, evaluation, processes
from difjax.denoising import prediction
from difjax.evaluation import trained


@dataclasses.dataclass(frozen=True, kw_only=True)
class Playback:
  """A sampler that gives digits back, or noise: what it is told to."""

  noise: float = 0.0

  def __call__(self, denoiser, process, x, noise):
    known = denoiser(x, 0.0).x0
    return known + self.noise * x, jnp.full(x.shape[:1], 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits:
  """A model that knows the training digits by heart, in their order."""

  process: processes.Process = processes.VP()
  evaluations: int = 1

  def denoiser(self, params, cond=None):
    images = jnp.take(params, cond['label'], axis=0)
    return lambda x, t: prediction.Prediction(x0=images, eps=x)


TRAIN = data.Digits(split='train')
HELD_OUT = data.Digits(split='test')


@pytest.fixture(scope='module')
def model():
  """A model whose image of class k is the first training digit of k."""
  whole = TRAIN.take(np.arange(200))
  first = [np.flatnonzero(whole['label'] == k)[0] for k in range(10)]
  images = whole['image'][first] / 127.5 - 1
  return trained.Trained(
    objective=Digits(), params=jnp.asarray(images, jnp.float32),
    shape=(8, 8, 1), num_classes=10, class_names=(), step=1, config={},
  )  # fmt: skip


def judged(model, noise):
  judge = evaluation.Quality(
    sampler=Playback(noise=noise), train=TRAIN, held_out=HELD_OUT, images=120,
    size=60,
  )  # fmt: skip
  return judge(model)


@pytest.fixture(scope='module')
def clean(model):
  """What is found of digits as they are."""
  return judged(model, 0.0)


@pytest.fixture(scope='module')
def noisy(model):
  """And of noise on them."""
  return judged(model, 1.0)


def test_figures(clean):
  assert clean.figures['evaluations_mean'] == 3
  assert clean.figures['accuracy_of_the_classifier'] > 0.9
  assert clean.arrays['samples'].shape == (120, 8, 8, 1)
  assert clean.pictures['grid'].dtype == np.uint8


def test_noise_is_worse_and_real_images_are_best(clean, noisy):
  real = clean.figures['frechet_distance_of_training_images']
  of_clean, of_noisy = (
    found.figures['frechet_distance'] for found in (clean, noisy)
  )
  assert real < of_clean < of_noisy


def test_the_same_seed_gives_the_same_figures(model, noisy):
  first, second = noisy.figures, judged(model, 1.0).figures
  same = first.keys() - {'seconds'}
  assert {k: first[k] for k in same} == {k: second[k] for k in same}
