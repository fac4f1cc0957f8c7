"""Figures against numpy and against the functions that define them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difjax import errors, metrics
from difjax.evaluation import (
  feature_nets,
  figures,
  gathered,
  image_set,
  references,
)

RNG = np.random.default_rng(0)
MADE = RNG.integers(0, 256, (300, 3, 3, 1), np.uint8)
REAL = RNG.integers(30, 220, (400, 3, 3, 1), np.uint8)
HOW = figures.Figures(
  subsets=5, subset=100, levels=2, draws=4, overlap=250, neighbours=3
)
NET = feature_nets.Pixels().load()


def flat(images):
  return images.reshape(len(images), -1) / 255


def found(made, real, how=HOW, net=NET):
  made, real = map(image_set.of_array, (made, real))
  return figures.measure(
    gathered.gather(made, net), references.of_images(real).compute(net),
    net.names, how,
  )  # fmt: skip


def test_the_distance_is_that_of_numpys_statistics():
  a, b = flat(MADE), flat(REAL)
  gaussian = lambda x: metrics.Gaussian(x.mean(0), np.cov(x, rowvar=False))
  expected = metrics.frechet_distance(gaussian(a), gaussian(b))
  got = found(MADE, REAL).figures['fd_pixels']
  assert (got.value, got.better) == (pytest.approx(expected, rel=1e-5), 'lower')


def test_other_figures_are_those_of_metrics():
  a, b = flat(MADE).astype(np.float32), flat(REAL).astype(np.float32)
  got = found(MADE, REAL).figures
  kid = metrics.kernel_distance(a, b, pairs=metrics.Draws(count=5, size=100))
  assert got['kd_pixels'].value == pytest.approx(kid.mean, rel=1e-9)
  assert got['kd_pixels'].beside['std'] == pytest.approx(kid.std, rel=1e-9)
  limit = metrics.fd_infinity(
    a, metrics.Moments.of(b).gaussian, levels=2, draws=4
  )
  ours = got['fd_pixels_infinity']
  assert ours.value == pytest.approx(limit.value, rel=1e-6)
  assert ours.beside['low'] == pytest.approx(limit.low, rel=1e-6)
  whole = found(MADE, REAL, figures.Figures(overlap=400, subsets=0, draws=0))
  some = metrics.overlap(a, b, k=3)
  for name in ('precision', 'recall', 'density', 'coverage'):
    assert whole.figures[name].value == getattr(some, name)
    assert whole.figures[name].better == 'higher'


def test_a_set_is_at_no_distance_from_itself():
  got = found(MADE, MADE, figures.Figures(overlap=400, subsets=0, draws=0))
  assert abs(got.figures['fd_pixels'].value) < 1e-9
  assert got.figures['precision'].value == got.figures['recall'].value == 1


class Batched:
  """A network whose features come in batches of a given size."""

  def __init__(self, size):
    self.names, self.facts, self.size = NET.names, NET.facts, size

  def __call__(self, batches):
    for found in NET(image_set.rebatched(batches, self.size)):
      yield feature_nets.Activations(found.pooled, found.pooled[:, :4] ** 2)


@pytest.mark.parametrize('size', [1, 7, 300])
def test_figures_do_not_follow_from_the_size_of_batches(size, monkeypatch):
  monkeypatch.setattr(gathered, '_ROWS', 64)
  made = image_set.of_array(MADE)
  one = gathered.gather(made, Batched(size))
  assert one.moments.count == one.spatial.count == 300
  whole = gathered.gather(made, Batched(50))
  np.testing.assert_array_equal(one.moments.scatter, whole.moments.scatter)
  np.testing.assert_array_equal(one.spatial.scatter, whole.spatial.scatter)
  expected = np.cov(one.pooled[:, :4].astype(float) ** 2, rowvar=False)
  np.testing.assert_allclose(
    one.spatial.gaussian.covariance, expected, rtol=1e-5, atol=1e-9
  )


class Logits:
  """A network of logits alone beside pixels."""

  names, facts = feature_nets.Names(), {'title': 'x'}

  def __call__(self, batches):
    for found in NET(batches):
      logits = 5 * found.pooled
      yield feature_nets.Activations(found.pooled, None, logits, 2 * logits)


def test_scores_are_score_sdes_and_adms():
  got = found(MADE, REAL, net=Logits()).figures
  logits = 5 * flat(MADE).astype(np.float32)
  for name, values, parts in (
    ('inception_score', logits, metrics.SCORE_SDE),
    ('inception_score_adm', 2 * logits, metrics.ADM),
  ):
    expected = metrics.inception_score(values, parts)
    assert got[name].value == pytest.approx(expected.mean, rel=1e-6)
    assert (got[name].better, got[name].depends) == ('higher', ())
  assert {'fid', 'kid', 'fid_infinity'} <= set(got)


def test_logits_of_a_reference_are_not_kept():
  real = image_set.of_array(REAL)
  got = gathered.gather(real, Logits(), scores=False)
  assert got.logits is got.unbiased is None
  assert gathered.gather(real, Logits()).logits.shape == (400, 9)


def test_a_network_that_loses_images():
  class Lossy(Logits):
    def __call__(self, batches):
      for found in NET(batches):
        yield feature_nets.Activations(found.pooled[1:])

  with pytest.raises(errors.DataError, match='features of 298 of 300 images'):
    found(MADE, REAL, net=Lossy())


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('neighbours', 0), ('neighbours', -1), ('overlap', -1), ('subsets', -1),
    ('subset', -3), ('subset', 1), ('levels', 0), ('levels', 1), ('draws', -1),
    ('draws', 1), ('confidence', 1.0), ('confidence', float('nan')),
    ('seed', -1), ('overlap', 1.5), ('overlap', True), ('limit_entries', -1),
  ],
)  # fmt: skip
def test_conventions_that_cannot_be(name, value):
  with pytest.raises(errors.ConfigError, match=f'figures.{name}={value}: give'):
    figures.Figures(**{name: value})


def test_few_images_leave_figures_out():
  got = found(MADE[:20], REAL, figures.Figures())
  assert set(got.figures) == {
    'fd_pixels', 'precision', 'recall', 'density', 'coverage'
  }  # fmt: skip
  assert 'do not fit into sets of 20' in got.left_out['kd_pixels']
  assert 'too few' in got.left_out['fd_pixels_infinity']


def test_the_limit_of_many_entries_is_asked_for():
  how = dataclasses.replace(HOW, limit_entries=8)
  got = found(MADE, REAL, how)
  assert 'fd_pixels_infinity' not in got.figures
  assert 'limit_entries=9 computes it' in got.left_out['fd_pixels_infinity']


def test_features_that_are_not_finite():
  class Bad(Logits):
    def __call__(self, batches):
      for found in NET(batches):
        yield feature_nets.Activations(found.pooled * np.nan)

  with pytest.raises(errors.DataError, match='NaN or infinity'):
    found(MADE, REAL, net=Bad())


def test_pixels_are_for_small_images():
  large = image_set.of_array(np.zeros((2, 64, 64, 3), np.uint8))
  with pytest.raises(errors.DataError, match='too large to compare by pixels'):
    gathered.gather(large, NET)


def test_a_network_of_another_kind_of_images(tmp_path):
  """Grey and RGB are not compared silently."""
  with pytest.raises(errors.DataError, match='for pixels images of one shape'):
    found(MADE, REAL.repeat(3, axis=-1))
