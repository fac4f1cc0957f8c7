"""Memorised: copies are flagged, new real images are not, and it is shown."""

from __future__ import annotations

import dataclasses
import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs.cifar10 import memorisation_16
from difjax import __main__, config, data, errors, evaluation, processes
from difjax.denoising import prediction
from difjax.evaluation import feature_nets, memorised, report, trained

COUNT = 150


@dataclasses.dataclass(frozen=True)
class EverySecond(data.Source):
  """Every second test digit: neighbours in the set are by one writer."""

  start: int

  def __len__(self):
    return 250

  def __getitem__(self, i):
    return data.Digits(split='test')[self.start + 2 * i]


TRAIN = data.Subset(source=data.Digits(split='train'), stop=600)
HELD_OUT, NEW = EverySecond(0), EverySecond(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Playback:
  """A sampler that gives back what the model knows, and a little noise."""

  noise: float = 0.0

  def __call__(self, denoiser, process, x, noise):
    return denoiser(x, 0.0).x0 + self.noise * x, jnp.full(x.shape[:1], 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recall:
  """A model whose image i is the i-th of its parameters."""

  process: processes.Process = processes.VP()
  evaluations: int = 1

  def denoiser(self, params, cond=None):
    images = jnp.take(params, cond['label'], axis=0)
    return lambda x, t: prediction.Prediction(x0=images, eps=x)


def model(source, sign=1):
  """A model that draws the images of a source in their order."""
  images = source.take(np.arange(COUNT))['image'] / 127.5 - 1
  return trained.Trained(
    objective=Recall(), params=jnp.asarray(sign * images, jnp.float32),
    shape=(8, 8, 1), num_classes=COUNT, class_names=(), step=1, config={},
  )  # fmt: skip


def judge(noise=0.05, **fields):
  return evaluation.Memorised(**{
    'sampler': Playback(noise=noise), 'train': TRAIN, 'held_out': HELD_OUT,
    'images': COUNT, 'size': COUNT, **fields,
  })  # fmt: skip


@pytest.fixture(scope='module')
def copies():
  """What is found of training images with a little noise."""
  return judge()(model(TRAIN))


def test_copies_are_flagged_beside_their_originals(copies):
  figures, arrays = copies.figures, copies.arrays
  assert (figures['flagged'], figures['copied']) == (1, 1.0)
  assert figures['copied_held_out'] < 0.3
  assert figures['nearest_ratio'] < 0.3
  assert figures['extracting'] == figures['extracted'] == COUNT
  assert figures['extracting_held_out'] < COUNT / 2
  np.testing.assert_array_equal(arrays['index'], np.arange(COUNT))
  nearest = arrays['pixels_nearest'][:, 0]
  np.testing.assert_array_equal(nearest, np.arange(COUNT))
  np.testing.assert_array_equal(arrays['extraction_nearest'], nearest)
  # Noise of 0.05 on 64 pixels, of which those below black are cut off.
  apart = arrays['pixels_distances'][:, 0]
  assert (apart > 0.5 * 0.05 * 8).all()
  assert (apart < 1.5 * 0.05 * 8).all()


def test_held_out_images_are_drawn_and_named(copies):
  arrays, whole = copies.arrays, HELD_OUT.take(np.arange(len(HELD_OUT)))
  train = TRAIN.take(np.arange(len(TRAIN)))['image'] / 127.5
  index = arrays['index_held_out']
  assert len(set(index)) == len(index) == COUNT
  i = 7
  nearest = train[arrays['pixels_nearest_held_out'][i, 0]]
  apart = np.linalg.norm(whole['image'][index[i]] / 127.5 - nearest)
  assert arrays['pixels_distances_held_out'][i, 0] == pytest.approx(apart)


def test_new_real_images_are_not_flagged():
  figures = judge(noise=0.0)(model(NEW)).figures
  assert figures['flagged'] == 0
  assert figures['copied'] <= figures['allowed'] < 0.7
  assert figures['nearest_ratio'] == pytest.approx(1, abs=0.1)
  assert figures['authentic'] == pytest.approx(
    figures['authentic_held_out'], abs=0.15
  )


class SizeOfPixels:
  """A network that gives a negative what it gives its image."""

  def load(self):
    """Returns itself at work."""
    return lambda batches: (
      feature_nets.Activations(abs(x.reshape(len(x), -1) / 127.5 - 1))
      for x in batches
    )


def test_features_find_what_pixels_do_not():
  found = judge(noise=0.0, features=SizeOfPixels())(model(TRAIN, sign=-1))
  assert found.figures['copied'] == found.figures['extracting'] == 0
  assert found.figures['features_copied'] == 1
  assert found.figures['flagged'] == 1
  np.testing.assert_array_equal(
    found.arrays['features_nearest'][:, 0], np.arange(COUNT)
  )


def test_fewer_held_out_images_than_samples_will_do():
  few = data.Subset(source=data.Digits(split='test'), stop=40)
  figures = judge(held_out=few)(model(TRAIN)).figures
  assert figures['images_held_out'] == 40
  assert figures['flagged'] == 1


def test_suspects_stand_above_their_neighbours():
  found = judge(noise=0.0).inquire(model(TRAIN))
  picture = memorised.suspects(found, shown=3)
  zoom, gap, wide = 12, 6, 20
  cell = 8 * zoom
  assert picture.shape[0] == 4 * cell + 3 * gap + wide
  left = picture.shape[1] - (3 * cell + 2 * gap)
  top = [0, cell + gap, 2 * (cell + gap) + wide, 3 * (cell + gap) + wide]
  at = lambda row, column: picture[
    top[row] : top[row] + cell : zoom,
    left + column * (cell + gap) : left + column * (cell + gap) + cell : zoom, 0
  ]  # fmt: skip
  for column in range(3):
    np.testing.assert_array_equal(at(0, column), at(1, column))
    assert (at(2, column) != at(3, column)).any()


def test_the_section_says_so_and_shows_it():
  drawn = {}

  def draw(name, png, caption, *, curves=False):
    drawn[name] = png
    return report.Figure(png=png, caption=caption, alt=caption, curves=curves)

  section = evaluation.MemorisedSection(judge=judge())
  flagged = section(model(TRAIN), None, draw)
  assert set(drawn) == {'suspects', 'copies_pixels'}
  for png in drawn.values():
    with Image.open(io.BytesIO(png)) as picture:
      picture.load()
  assert flagged.text.startswith('Flagged: in pixels 100.0% of the samples')
  (check,) = flagged.checks
  assert not check.ok
  assert check.value == 1
  assert flagged.table.rows[3][:2] == ['repeat a training image', '150']
  page = report.render('Copies', '', [flagged], {})
  assert '0 of 1 criteria are met' in page
  sound = section(model(NEW), None, draw)
  assert sound.text.startswith('Not flagged: ')
  assert sound.checks[0].ok


@dataclasses.dataclass(frozen=True)
class Wide(data.Source):
  """Images of other sizes than the digits'."""

  sizes: tuple[int, ...] = (9,)

  def __len__(self):
    return 60

  def __getitem__(self, i):
    size = self.sizes[i % len(self.sizes)]
    return {'image': np.full((8, size, 1), i, np.uint8)}


@pytest.mark.parametrize(
  ('fields', 'said'),
  [
    ({'train': Wide()}, 'train has images of 8 x 9 x 1, the model makes 8 x 8'),
    ({'held_out': Wide()}, 'held_out has images of 8 x 9 x 1'),
    ({'held_out': Wide(sizes=(8, 9))}, 'images of 8 x 8 x 1 and 8 x 9 x 1'),
    ({'train': data.Subset(source=TRAIN, stop=49)}, '49 training images, but'),
    ({'held_out': TRAIN}, 'half of the held-out images are in the training'),
    ({'tiles': 3}, '3 tiles a side do not divide images of 8 x 8'),
  ],
)
def test_images_that_do_not_fit_are_one_line(fields, said):
  with pytest.raises(errors.DataError, match=said) as error:
    judge(**fields)(model(TRAIN))
  assert '\n' not in str(error.value)


def test_a_config_that_lacks_something_is_one_line():
  spec = {'type': 'evaluation.Memorised', 'train': {'type': 'data.Digits'},
          'sampler': {'type': 'sampling.AdaptiveODE'}}  # fmt: skip
  with pytest.raises(errors.ConfigError, match='held_out'):
    config.build(spec, path='evaluation.memorised')
  spec['held_out'] = {'type': 'data.Digits', 'split': 'test'}
  assert config.build(spec).count == 50
  with pytest.raises(errors.ConfigError, match='images=0, must be at least 1'):
    config.build(dict(spec, images=0))


def digits(workdir, stop):
  """Makes the experiment of CIFAR-10 one of some digits, and runs it."""
  spec = memorisation_16.get_config().to_dict()
  source = {'type': 'data.Digits'}
  train = {'type': 'data.Subset', 'source': source, 'stop': stop}
  held_out = dict(source, split='test')
  spec['data']['source'] = train
  spec['mesh'] = {'type': 'tests.tiny.OneDevice'}
  spec['steps'] = spec['optimiser']['schedule']['decay_steps'] = 1_200
  spec['objective']['network'].update(patch=(4, 4), width=96, depth=2)
  judge = spec['evaluation']['copies'] | {'train': train, 'held_out': held_out}
  judge['images'] = 250
  spec['evaluation']['copies'] = judge
  spec['report']['held_out'] = held_out
  spec['report']['sections']['copies']['judge'] = judge
  workdir.mkdir()
  config.save(spec, workdir / 'config.json')
  for verb in ('train', 'evaluate', 'report'):
    flags = [f'--workdir={workdir}', '--trust=tests']
    assert __main__.main([verb, *flags]) == 0
  figures = json.loads((workdir / 'evaluation' / 'copies.json').read_text())
  return figures, (workdir / 'report.html').read_text()


@pytest.mark.slow
def test_a_model_of_few_images_is_flagged_and_one_of_many_is_not(tmp_path):
  figures, page = digits(tmp_path / 'few', 60)
  assert figures['flagged']
  assert figures['copied'] > 0.5
  assert figures['nearest_ratio'] < 0.7
  assert 'Flagged: in pixels' in page
  figures, page = digits(tmp_path / 'many', 1_297)
  assert not figures['flagged']
  assert 'Not flagged: in pixels' in page
