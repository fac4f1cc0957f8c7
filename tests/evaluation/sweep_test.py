"""The sweep over scales, of a model that knows the digits by heart."""

from __future__ import annotations

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from difjax import data, processes
from difjax.data import device
from difjax.denoising import prediction
from difjax.evaluation import baselines, guided, report, sweep, trained

TRAIN, TEST = data.Digits(), data.Digits(split='test')


@dataclasses.dataclass(frozen=True)
class Known:
  """Draws digits of the asked class; of none, the mean of all."""

  process: processes.Process = processes.VP()
  evaluations: int = 1
  null_label: bool = True

  def denoiser(self, params, cond=None):
    """Returns the digits as they are, whatever x is."""
    label = cond['label']
    rank = jnp.cumsum(jnp.ones_like(label)) - 1
    image = params['digits'][jnp.maximum(label, 0), rank % 40]
    null = (label < 0)[:, None, None, None]
    x0 = jnp.where(null, params['mean'], image)
    return lambda x, t: prediction.Prediction(x0=x0, eps=0 * x0)


@dataclasses.dataclass(frozen=True)
class Ask:
  """Asks the denoiser once."""

  def __call__(self, denoiser, process, x, noise):
    """Returns x_0 and one evaluation."""
    return denoiser(x, process.t_max).x0, jnp.ones(len(x), int)


@pytest.fixture(scope='module')
def section():
  """The section, and its pictures by name."""
  whole = TRAIN.take(np.arange(len(TRAIN)))
  images = device.to_unit_range(whole['image'])
  digits = [images[whole['label'] == k][:40] for k in range(10)]
  model = trained.Trained(
    objective=Known(),
    params={'digits': jnp.stack(digits), 'mean': images.mean(axis=0)},
    shape=(8, 8, 1), num_classes=10, class_names=tuple('0123456789'),
    step=1, config={},
  )  # fmt: skip
  held_out = TEST.take(np.arange(len(TEST)))
  drawn = {}

  def draw(name, png, caption, *, curves=False):
    drawn[name] = png
    return report.Figure(png=png, caption=caption, alt=caption, curves=curves)

  made = sweep.GuidanceSweep(
    sampler=Ask(), train=TRAIN, scales=(0.0, 1.0, 1.5), images=200, size=200,
    shown=7, guide=guided.ClassifierFree(),
  )(model, baselines.Labelled(held_out['image'], held_out['label']), draw)
  return made, drawn


def test_scale_one_is_best_where_the_model_is_right(section):
  """At 0 all samples are one image, of no class and no diversity."""
  made, _ = section
  assert made.text.endswith('is least at 1.')
  said = made.text.split(': ')[1]
  shares = dict(
    (part.split(' from ')[0], part.split(' from ')[1])
    for part in said.split('. ')[0].split(', ')
  )
  begin, _, end = shares['accuracy'].partition(' to ')
  assert float(begin.rstrip('%')) < 20
  assert float(end.rstrip('%')) > 97
  assert shares['recall'].startswith('0%')


def test_figures(section):
  made, drawn = section
  assert list(drawn) == ['guidance_sweep', 'guided_samples']
  assert [figure.curves for figure in made.figures] == [True, False]
  with Image.open(io.BytesIO(drawn['guided_samples'])) as picture:
    wide, high = picture.size
  cell = 12 * 8 + 6  # digits at twelve times their size, and a gap
  assert 3 * cell - 6 <= high < 4 * cell
  assert 7 * cell - 6 <= wide < 8 * cell + 60
