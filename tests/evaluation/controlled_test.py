"""Models that are led: from their runs, on exact data, and what is refused."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from difjax import config as configs
from difjax import data, errors, objectives, processes, sampling, training
from difjax.cli import train
from difjax.denoising import restoration
from difjax.evaluation import controlled, samples, trained
from tests import analytic, tiny, tiny_classifier

TRUST = ('tests',)
SHAPE = (8, 8, 1)
SAMPLER = sampling.FixedGrid(
  solver=sampling.DDIM(eta=1.0), grid=sampling.LogSNR(steps=6)
)
OBJECTIVE, PARAMS = tiny.exact_noise(processes.VP())
MODEL = trained.Trained(
  objective=OBJECTIVE, params=PARAMS, shape=SHAPE, num_classes=0,
  class_names=(), step=1, config={},
)  # fmt: skip


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The work directory of a classifier of the digits."""
  workdir = tmp_path_factory.mktemp('controlled')
  spec = tiny_classifier.get_config().to_dict()
  spec['steps'] = 2
  training.train(train.build(spec), workdir)
  configs.save(spec, workdir / 'config.json')
  return workdir


def drawn(led, labels=None, n=6, mean=0.0):
  images, _ = samples.generate(
    led.objective, SAMPLER, led.params, shape=led.shape, labels=labels,
    indices=np.arange(n), mean=mean, size=n,
  )  # fmt: skip
  return images


def test_a_model_without_classes_gets_the_classifiers(run):
  led = controlled.ClassifierGuidance(workdir=str(run), scale=30.0)(
    MODEL, TRUST
  )
  assert led.num_classes == 10
  assert led.class_names == tuple('0123456789')
  labels = np.asarray([0, 1, 2, 3, 4, 5])
  found, plain = drawn(led, labels), drawn(MODEL)
  assert (found != plain).any(axis=(1, 2, 3)).all()
  turned = drawn(led, np.roll(labels, 1))
  assert (found != turned).any(axis=(1, 2, 3)).all()
  np.testing.assert_array_equal(drawn(led), plain)  # no label, no guidance


def test_scale_zero_is_the_model(run):
  led = controlled.ClassifierGuidance(workdir=str(run), scale=0.0)(MODEL, TRUST)
  np.testing.assert_array_equal(drawn(led, np.arange(6)), drawn(MODEL))


def test_guidance_raises_the_classifiers_own_probability(run):
  """A small step along the gradient does, to first order."""
  led = controlled.ClassifierGuidance(workdir=str(run), scale=1.0)(MODEL, TRUST)
  process = led.objective.process
  label, t = jnp.arange(6), jnp.full(6, 0.3)
  x = jax.random.normal(jax.random.key(0), (6, *SHAPE))
  guided = led.objective.denoiser(led.params, {'label': label})(x, t)
  plain = OBJECTIVE.denoiser(PARAMS)(x, t)
  own = led.objective.classifier
  ratio = process.alpha(t) / process.sigma(t)
  u = own.process.time_of_logsnr(process.logsnr(t))

  def chosen(x):
    seen = x / process.alpha(t)[:, None, None, None]
    found = own.log_prob(led.params['classifier'])(seen, u)
    return found[jnp.arange(6), label]

  step = 1e-3 * (guided.x0 - plain.x0) / ratio[:, None, None, None]
  assert np.all(chosen(x + step) > chosen(x))


def test_the_label_goes_to_the_model_if_asked():
  @dataclasses.dataclass(frozen=True)
  class Seen:
    process: processes.Process = processes.VP()

    def denoiser(self, params, cond=None):
      told.append(cond)
      return analytic.Gaussian().denoiser(self.process)

  told = []
  classifier = objectives.Classifier(process=processes.VP(), network=None)
  for labelled in (True, False):
    controlled.Guided(
      model=Seen(), classifier=classifier, scale=1.0, labelled=labelled
    ).denoiser({'model': {}, 'classifier': {}}, {'label': 3})
  assert told == [{'label': 3}, None]


def test_a_run_that_is_no_classifier_is_refused(run, tmp_path):
  other = dataclasses.replace(MODEL, shape=(4, 4, 1))
  guide = controlled.ClassifierGuidance(workdir=str(run))
  with pytest.raises(errors.ConfigError, match='8x8x1, the model draws 4x4x1'):
    guide(other, TRUST)
  five = dataclasses.replace(MODEL, num_classes=5)
  with pytest.raises(errors.ConfigError, match='knows 10 classes, the model 5'):
    guide(five, TRUST)
  with pytest.raises(errors.ConfigError, match='has no denoiser'):
    trained.load(run, trust=TRUST, needs='denoiser')


OPERATORS = {
  'window': restoration.Window(top=0.5, bottom=1.0, left=0.0, right=1.0),
  'pool': restoration.AveragePool(factor=4),
}


@pytest.mark.parametrize(
  'method', [controlled.MATCHED, restoration.projected]
)
@pytest.mark.parametrize('name', OPERATORS)
def test_restored_images_have_the_measurement(name, method):
  """To one grey level, by rounding; the rest of an image is its own."""
  digits = data.Digits(split='test')
  operator = OPERATORS[name]
  task = controlled.Restoration(
    operator=operator, source=digits, index=3, method=method
  )(MODEL)
  images = drawn(task.model, mean=task.mean)
  measured = operator.measure(jnp.asarray(images, jnp.float32))
  wanted = operator.measure(jnp.asarray(digits[3]['image'][None], jnp.float32))
  # A sample beyond black or white is cut, and with it the mean of its patch.
  slack = {'window': 1, 'pool': 12}[name]
  assert np.abs(measured - wanted).max() <= slack
  assert (images[1:] != images[:1]).any(axis=(1, 2, 3)).all()


def test_the_picture_of_a_measurement():
  digits = data.Digits(split='test')
  image = digits[0]['image']
  pool = OPERATORS['pool']
  task = controlled.Restoration(operator=pool, source=digits)(MODEL)
  means = image.reshape(2, 4, 2, 4).mean(axis=(1, 3))
  squares = means.repeat(4, axis=0).repeat(4, axis=1)
  assert np.abs(task.picture[..., 0] - squares).max() <= 1
  alpha = float(processes.VP().alpha(1.0))
  np.testing.assert_allclose(
    task.mean[0, ..., 0], alpha * (squares / 127.5 - 1), atol=1e-5
  )


def test_an_image_file_or_the_measurement_itself(tmp_path):
  digits = data.Digits(split='test')
  pixels = digits[2]['image'][..., 0]
  small = np.asarray([[10, 20], [30, 240]], np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'whole.png')
  Image.fromarray(small).save(tmp_path / 'small.png')
  pool = OPERATORS['pool']
  of = lambda **fields: controlled.Restoration(operator=pool, **fields)(MODEL)
  np.testing.assert_array_equal(
    of(image=f'{tmp_path}/whole.png').model.params['measured'],
    of(source=digits, index=2).model.params['measured'],
  )
  found = of(image=f'{tmp_path}/small.png').picture
  np.testing.assert_array_equal(found[::4, ::4, 0], small)
  Image.fromarray(pixels[:5]).save(tmp_path / 'odd.png')
  with pytest.raises(errors.ConfigError, match=r'5x8x1.* 8x8x1.* knows 2x2x1'):
    of(image=f'{tmp_path}/odd.png')


@pytest.mark.parametrize(
  ('fields', 'text'),
  [
    (dict(), 'add --restore.image=FILE'),
    (dict(source=data.Digits(), index=-1), 'index = -1: the source has'),
    (
      dict(source=data.Digits(), operator=restoration.Grey()),
      'Grey has no use for images of 8x8x1',
    ),
    (
      dict(source=data.Digits(), operator=restoration.AveragePool(factor=3)),
      'AveragePool has no use for images of 8x8x1',
    ),
    (
      dict(
        source=data.Digits(),
        operator=restoration.Mask(known=np.ones((3, 5, 1))),
      ),
      'Mask does not fit images of 8x8x1',
    ),
  ],
)
def test_what_cannot_be_restored(fields, text):
  with pytest.raises(errors.ConfigError, match=text):
    controlled.Restoration(**fields)(MODEL)


def test_a_mask_is_drawn(tmp_path):
  known = np.zeros((8, 8), np.uint8)
  known[2:4] = 255
  Image.fromarray(known).save(tmp_path / 'mask.png')
  operator = configs.build(
    dict(type='evaluation.mask', file=f'{tmp_path}/mask.png'), trusted=False
  )
  np.testing.assert_array_equal(operator.known[..., 0], known / 255)
  task = controlled.Restoration(operator=operator, source=data.Digits())(MODEL)
  images = drawn(task.model, mean=task.mean)
  wanted = data.Digits()[0]['image']
  assert np.abs(images[:, 2:4].astype(int) - wanted[2:4]).max() <= 1
  assert (images[:, 4:] != wanted[4:]).any()


def test_both_at_once(run):
  guide = controlled.ClassifierGuidance(workdir=str(run), scale=30.0)
  restore = controlled.Restoration(
    operator=OPERATORS['window'], source=data.Digits()
  )
  led = controlled.lead(MODEL, [guide], restore, labelled=False, trust=TRUST)
  found = drawn(led.model, np.arange(6), mean=led.mean)
  alone = controlled.lead(MODEL, [], restore, labelled=False)
  plain = drawn(alone.model, mean=alone.mean)
  top, bottom = found[:, :4].astype(int), found[:, 4:]
  assert np.abs(top - data.Digits()[0]['image'][:4]).max() <= 1
  assert (bottom != plain[:, 4:]).any(axis=(1, 2, 3)).all()
