"""Guides of trained models, on Gaussian classes whose guidance is known.

Where all classes have one width, what is guided is a Gaussian again, of mean
m_0 + w (m_1 - m_0).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, errors, processes, sampling
from difjax.evaluation import guided, samples, trained
from tests import analytic, tiny

SHAPE = (2, 2, 1)
LABEL = jnp.asarray([0, 1, 2])
X = jax.random.normal(jax.random.key(0), (3, *SHAPE))
T = 0.4


def mean(label):
  """Of a class; -1 is none."""
  return jnp.where(label < 0, -0.2, 0.1 + 0.3 * label)


@dataclasses.dataclass(frozen=True)
class Classes:
  """The exact model of Gaussian classes, moved by its parameters."""

  process: processes.Process = processes.VP()
  evaluations: int = 1
  null_label: bool = True
  seen: object = None

  def denoiser(self, params, cond=None):
    """Returns the exact denoiser of a mean for each image."""
    label = jnp.asarray(-1) if cond is None else cond['label']
    exact = law(params + mean(label)).denoiser(self.process)

    def denoise(x, t):
      if self.seen is not None:
        jax.debug.callback(functools.partial(self.seen, len(x)))
      return exact(x, t)

    return denoise


def law(mean):
  return analytic.Gaussian(jnp.reshape(mean, (-1, 1, 1, 1)), 0.5)


MODEL = trained.Trained(
  objective=Classes(), params=0.0, shape=SHAPE, num_classes=3,
  class_names=(), step=1, config={},
)  # fmt: skip


def predicted(led, label=LABEL, t=T):
  cond = None if label is None else {'label': label}
  return led.objective.denoiser(led.params, cond)(X, t)


def assert_mean(pair, wanted, t=T):
  exact = law(wanted).denoiser(processes.VP())(X, t)
  np.testing.assert_allclose(pair.x0, exact.x0, atol=2e-5)
  np.testing.assert_allclose(pair.eps, exact.eps, atol=2e-5)


@pytest.mark.parametrize('together', [True, False])
def test_classifier_free(together):
  led = guided.ClassifierFree(scale=3.0, together=together)(MODEL)
  assert_mean(predicted(led), -0.2 + 3 * (mean(LABEL) + 0.2))
  assert_mean(predicted(led, None), -0.2 * jnp.ones(3))
  assert led.num_classes == 3


def test_in_an_interval_alone():
  process = processes.VP()
  level = float(process.sigma(T) / process.alpha(T))
  for low, high, w in ((0.0, level * 1.01, 3), (level * 1.01, 99.0, 1)):
    led = guided.ClassifierFree(scale=3.0, interval=(low, high))(MODEL)
    assert_mean(predicted(led), -0.2 + w * (mean(LABEL) + 0.2))


def test_a_scale_may_follow_time():
  led = guided.ClassifierFree(
    scale=denoising.Linear(factor=2.0, offset=1.0)
  )(MODEL)
  assert_mean(predicted(led), -0.2 + (1 + 2 * T) * (mean(LABEL) + 0.2))


def test_scales_share_one_program():
  one, other = (guided.ClassifierFree(scale=w)(MODEL) for w in (1.0, 2.0))
  assert one.objective == other.objective
  assert hash(one.objective) == hash(other.objective)
  assert one.params['scale'] != other.params['scale']


@pytest.fixture
def weaker(monkeypatch):
  """What autoguidance finds: a worse model, of another process."""
  other = dataclasses.replace(
    MODEL, objective=Classes(processes.EDM(t_min=1e-4, t_max=1e3)), params=0.1
  )
  asked = []

  def load(workdir, **fields):
    asked.append((str(workdir), fields))
    return other

  monkeypatch.setattr(trained, 'load', load)
  return asked


@pytest.mark.parametrize('labelled', [True, False])
def test_autoguidance(weaker, labelled):
  led = guided.Autoguidance(
    workdir='weak', ema='late', scale=2.0, labelled=labelled
  )(MODEL, ('mylab',))
  worse = 0.1 + mean(LABEL if labelled else -1)
  assert_mean(predicted(led), worse + 2 * (mean(LABEL) - worse))
  ((place, fields),) = weaker
  assert place == 'weak'
  assert fields == {'ema': 'late', 'trust': ('mylab',), 'needs': 'denoiser'}


def test_a_weaker_model_of_other_images_or_classes_is_refused(weaker):
  guide = guided.Autoguidance(workdir='weak')
  for change in ({'shape': (4, 4, 1)}, {'num_classes': 5}):
    with pytest.raises(errors.ConfigError, match='draws 2x2x1 of 3 classes'):
      guide(dataclasses.replace(MODEL, **change))
  free = dataclasses.replace(guide, labelled=False)
  free(dataclasses.replace(MODEL, num_classes=5))


def test_threshold():
  led = guided.Threshold(bound=denoising.Clip(low=-0.1, high=0.2))(MODEL)
  found, plain = predicted(led), predicted(MODEL)
  np.testing.assert_array_equal(found.x0, np.clip(plain.x0, -0.1, 0.2))
  assert np.abs(found.eps - plain.eps).max() > 0.01
  process = processes.VP()
  np.testing.assert_allclose(
    process.perturb(found.x0, found.eps, jnp.asarray(T)), X, atol=1e-5
  )


def test_guides_stand_on_each_other(weaker):
  """Scale 2 against the worse one in both branches, then scale 3."""
  auto = guided.Autoguidance(workdir='weak', scale=2.0)(MODEL)
  led = guided.ClassifierFree(scale=3.0)(auto)
  better = lambda label: mean(label) - 0.1
  null = better(jnp.asarray(-1))
  assert_mean(predicted(led), null + 3 * (better(LABEL) - null))
  assert led.objective.evaluations == 4


def test_evaluations_are_counted_by_the_image():
  seen = []
  model = dataclasses.replace(MODEL, objective=Classes(seen=seen.append))
  led = guided.Threshold()(guided.ClassifierFree(scale=2.0)(model))
  sampler = sampling.FixedGrid(
    solver=sampling.Heun(), grid=sampling.LogSNR(steps=3)
  )
  with tiny.quick_compilation():
    _, counts = samples.generate(
      led.objective, sampler, led.params, shape=SHAPE, indices=np.arange(4),
      labels=np.arange(4) % 3, size=4,
    )  # fmt: skip
  jax.effects_barrier()
  assert counts.tolist() == 4 * [10]
  assert sum(seen) == 4 * 10


def test_a_model_without_classes_cannot_leave_them():
  with pytest.raises(errors.ConfigError, match='needs a model of classes'):
    guided.ClassifierFree()(dataclasses.replace(MODEL, num_classes=0))


def test_a_model_that_was_never_without_a_label_cannot_leave_it():
  always = dataclasses.replace(MODEL, objective=Classes(null_label=False))
  for model in (always, guided.Threshold()(always)):
    with pytest.raises(errors.ConfigError, match='label_dropout'):
      guided.ClassifierFree()(model)


@pytest.mark.parametrize(
  ('fields', 'text'),
  [
    ({'scale': 'two'}, 'two'),
    ({'interval': (2.0, 1.0)}, 'must be low, high'),
    ({'interval': (-1.0, 1.0)}, 'must be low, high'),
    ({'interval': (1.0,)}, 'unpack'),
  ],
)
def test_what_is_no_scale_and_no_interval(fields, text):
  with pytest.raises(ValueError, match=text):
    guided.ClassifierFree(**fields)
