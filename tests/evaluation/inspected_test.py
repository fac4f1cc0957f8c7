"""Data sets made by hand, whose figures can be told without measuring."""

from __future__ import annotations

import io
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from difjax import data, errors
from difjax.evaluation import inspected, inspected_page


class Given(data.Source):
  """Images from a list, with labels or without."""

  def __init__(self, images, labels=None, names=()):
    self.images, self.labels, self._names = images, labels, names

  def __len__(self):
    return len(self.images)

  def __getitem__(self, i):
    label = {} if self.labels is None else {'label': self.labels[i]}
    return {'image': np.asarray(self.images[i]), **label}

  @property
  def class_names(self):
    """Names, where they are given."""
    return self._names


@pytest.fixture(scope='module')
def noise():
  """Images of 300 x 4 x 5 x 3, some of them twice."""
  rng = np.random.default_rng(1)
  images = rng.integers(0, 256, (300, 4, 5, 3), np.uint8)
  images[[50, 60, 70]] = images[[3, 3, 4]]
  return images


def test_moments_are_those_of_all_pixels(noise):
  got, x = inspected.measure(Given(noise)), noise / 127.5 - 1
  assert (got.count, got.total, got.dimension) == (300, 300, 60)
  assert got.shapes == {(4, 5, 3): 300}
  np.testing.assert_allclose(got.mean, x.mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(got.channel_std, x.std((0, 1, 2)), rtol=1e-12)
  assert got.std == pytest.approx(x.std(), rel=1e-12)
  assert got.std_centred == pytest.approx(
    np.sqrt(np.mean((x - x.mean(0)) ** 2)), rel=1e-12
  )


def test_distances_are_those_of_all_pairs(noise):
  got = inspected.measure(Given(noise))
  x = np.unique(noise.reshape(300, -1), axis=0) / 127.5
  apart = np.linalg.norm(x[:, None] - x, axis=-1)
  near = np.sort(apart, axis=1)[:, 1]
  assert (got.duplicates, got.distances.count, got.exact) == (3, 297, True)
  assert got.distances.largest == pytest.approx(apart.max(), rel=1e-12)
  np.testing.assert_allclose(np.sort(got.distances.nearest), np.sort(near))
  assert got.distances.nearest.min() > 0


def test_black_and_white():
  flat = [np.full((2, 3, 1), level, np.uint8) for level in (0, 255, 0, 0)]
  got = inspected.measure(Given(flat, labels=[0, 1, 0, 0], names=('b', 'w')))
  # A coin of 1/4: mean -1/2, variance 4 (1/4) (3/4), everywhere the same.
  assert got.mean == pytest.approx(-0.5)
  assert got.std == pytest.approx(math.sqrt(0.75))
  assert got.std_centred == pytest.approx(math.sqrt(0.75))
  # Two images, 2 apart in each of 6 pixels.
  assert got.distances.largest == pytest.approx(2 * math.sqrt(6))
  assert got.duplicates == 2
  assert got.labels == {0: 3, 1: 1}
  text = inspected_page.text(got)
  assert '2: fewest w (1), most b (3)' in text
  assert 'all distinct images' in text


def test_a_mean_image_is_no_part_of_the_centred_deviation():
  ramp = np.arange(0, 200, 50, dtype=np.uint8).reshape(2, 2, 1)
  got = inspected.measure(Given([ramp, ramp + np.uint8(2)]))
  assert got.std_centred == pytest.approx(1 / 127.5)
  assert got.std == pytest.approx(
    np.std([ramp / 127.5, ramp / 127.5 + 2 / 127.5])
  )


def test_of_many_images_some_are_drawn_and_it_is_said(noise):
  got = inspected.measure(Given(noise), images=100, paired=40)
  assert (got.count, got.total, got.distances.count) == (100, 300, 40)
  assert len(set(got.indices)) == 100
  assert not got.exact
  assert got.indices.max() > 200  # and not the first ones
  text = inspected_page.text(got)
  assert '100 of 300' in text
  assert 'a sample of 40: the largest is a lower bound' in text
  other = inspected.measure(Given(noise), images=100, seed=1)
  assert set(other.indices) != set(got.indices)


def test_the_ladder_is_that_of_technique_2():
  for dimension, high in itertools.product((64, 3_072), (5.0, 100.0)):
    levels = inspected.ladder(dimension, high, 0.02)
    covered = []
    for count in (levels - 1, levels + 1):
      ratio = (high / 0.02) ** (1 / (count - 1))
      apart = math.sqrt(2 * dimension) * (ratio - 1)
      below, above = stats.norm.cdf([apart - 3 * ratio, apart + 3 * ratio])
      covered.append(above - below)
    assert covered[0] < 0.5 < covered[1]


@pytest.mark.parametrize(
  ('size', 'sigma', 'levels'), [(32, 50, 232), (64, 90, 500), (128, 190, 1_086)]
)
def test_published_ladders_are_six_percent_longer(size, sigma, levels):
  # NCSNv2's settings of CIFAR-10, CelebA and LSUN, by "about 1/2".
  got = inspected.ladder(3 * size**2, sigma, 0.01)
  assert levels / got == pytest.approx(1.06, abs=0.005)


def test_settings_follow_from_the_figures(noise):
  got = inspected.measure(Given(noise))
  values = {s.argument: s.value for s in inspected.proposed(got)}
  assert values['data_std'] == got.std
  assert values['sigma_max'] == got.distances.largest
  assert values['sigma_min'] == 0.02
  assert values['levels'] == inspected.ladder(60, values['sigma_max'], 0.02)
  assert (values['P_mean'], values['P_std']) == (-1.2, 1.2)
  assert all(s.rule for s in inspected.proposed(got))


def test_images_of_several_sizes_have_no_distances():
  got = inspected.measure(
    Given([np.zeros((2, n, 3), np.uint8) for n in (2, 3, 3)])
  )
  assert got.shapes == {(2, 3, 3): 2, (2, 2, 3): 1}
  assert next(iter(got.shapes)) == (2, 3, 3)
  assert (got.distances, got.std_centred, got.duplicates) == (None, None, 1)
  text = inspected_page.text(got)
  assert '2 x 3 x 3 (2), 2 x 2 x 3 (1)' in text
  assert 'none: images differ in size' in text
  assert 'sigma_max' not in text
  source = Given([np.zeros((2, n, 3), np.uint8) for n in (2, 3, 3)])
  assert set(inspected_page.pictures(got, source)) == {'levels'}


def test_equal_images_have_no_distances_either():
  got = inspected.measure(Given(np.zeros((5, 2, 2, 1), np.uint8)))
  assert (got.distances, got.duplicates, got.std) == (None, 4, 0)


@pytest.mark.parametrize(
  ('images', 'said'),
  [
    ([], '0 images to measure'),
    (np.zeros((2, 4, 4, 3)), 'image 0 is float64'),
    (np.zeros((2, 4, 4), np.uint8), 'image 0 is uint8 [(]4, 4[)]'),
    ([np.zeros((4, 4, n), np.uint8) for n in (3, 1)], 'of 3 and of 1 channels'),
  ],
)
def test_what_is_no_set_of_images_is_one_line(images, said):
  with pytest.raises(errors.DataError, match=said) as error:
    inspected.measure(Given(images))
  assert '\n' not in str(error.value)


def test_the_page_is_complete(noise):
  source = Given(noise, labels=np.arange(300) % 7)
  got = inspected.measure(source)
  found = json.loads(json.dumps(inspected_page.as_dict(got)))
  assert found['shapes'] == [[4, 5, 3, 300]]
  assert found['distances']['largest'] == got.distances.largest
  assert sum(found['labels'].values()) == 300
  assert np.sum(found['levels']) == noise.size
  pictures = inspected_page.pictures(got, source)
  assert set(pictures) == {'images', 'levels', 'distances'}
  for png in pictures.values():
    with Image.open(io.BytesIO(png)) as picture:
      picture.load()
