"""The judge on real digits: what must pass passes, what must fail fails."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn import datasets, model_selection

from difjax import errors
from difjax.evaluation import baselines, distribution


def split(labelled, size, seed):
  """Two disjoint parts, the second of `size` images, classes in proportion."""
  parts = model_selection.train_test_split(
    np.arange(len(labelled.labels)),
    test_size=size,
    stratify=labelled.labels,
    random_state=seed,
  )
  return [
    baselines.Labelled(labelled.images[part], labelled.labels[part])
    for part in parts
  ]


@pytest.fixture(scope='module')
def digits():
  pixels, labels = datasets.load_digits(return_X_y=True)
  images = np.rint(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
  return split(baselines.Labelled(images, labels), 500, seed=0)


@pytest.fixture(scope='module')
def real(digits):
  """Held-out digits stand in for perfect samples, against the other half."""
  train, held_out = digits
  samples, others = split(held_out, 250, seed=1)
  return distribution.judge(
    {'samples': samples, 'few': samples}, train, others
  )


@pytest.fixture(scope='module')
def fakes(digits):
  """Judgements of what is no model, each in the place of the samples."""
  train, held_out = digits
  rng = np.random.default_rng(2)
  made = {
    'copies': train.draw(500, rng),
    'gaussian': baselines.class_gaussian(train, held_out.labels, rng),
    'means': baselines.class_means(train, held_out.labels),
    'mislabelled': dataclasses.replace(
      held_out, labels=(held_out.labels + 1) % 10
    ),
  }
  return {
    name: distribution.judge({'samples': images}, train, held_out)
    for name, images in made.items()
  }


def failed(judgement):
  """The first word of every criterion that is not met."""
  return [c.criterion.split()[0] for c in judgement.checks if not c.ok]


def test_new_real_digits_meet_every_criterion(real):
  assert real.passed, distribution.format_table(real)
  samples, few = real.rows[:2]
  assert samples.label_accuracy > 0.97
  assert abs(samples.two_sample - 0.5) < 0.08
  assert 0.9 < samples.nearest_ratio < 1.1
  # The same images in another order, whose folds differ.
  assert few.frechet == pytest.approx(samples.frechet)
  assert few.recall == samples.recall


def test_the_reference_has_no_distance_from_itself(real):
  row = real.rows[2]
  assert row.label_accuracy >= 0.97
  assert row.nearest_ratio == 1
  assert {row.frechet, row.precision, row.recall, row.two_sample} == {None}


def test_copies_are_caught_by_the_nearest_ratio_alone(fakes):
  assert failed(fakes['copies']) == ['Nearest']
  assert fakes['copies'].rows[0].nearest_ratio == 0


def test_a_gaussian_of_each_class_fails(fakes):
  assert failed(fakes['gaussian']) == ['Recall,', 'Two-sample']


def test_class_means_fail(fakes):
  judgement = fakes['means']
  assert failed(judgement) == ['Recall,', 'Two-sample']
  assert judgement.rows[0].recall == 0
  assert judgement.rows[0].two_sample > 0.98


def test_wrong_labels_fail(fakes):
  judgement = fakes['mislabelled']
  assert 'Label' in failed(judgement)
  assert judgement.rows[0].label_accuracy < 0.02


def test_the_baselines_stand_in_order(fakes):
  copies, gaussian, means = fakes['copies'].rows[2:]
  assert copies.frechet < gaussian.frechet < means.frechet
  assert copies.recall > gaussian.recall > means.recall
  assert copies.two_sample < gaussian.two_sample < means.two_sample


def test_every_row_has_the_count_of_the_smallest_set(real):
  assert real.count == 250
  assert '250 images' in real.caption


def test_a_check_holds_at_its_threshold_and_not_beyond():
  check = distribution.Check(criterion='', value=0.5, threshold=0.5)
  assert check.ok
  assert dataclasses.replace(check, at_most=True).ok
  assert not dataclasses.replace(check, value=0.49).ok
  assert not dataclasses.replace(check, value=0.51, at_most=True).ok
  assert not dataclasses.replace(check, value=float('nan')).ok


def test_the_table_is_aligned_and_says_what_failed(fakes):
  lines = distribution.format_table(fakes['gaussian']).splitlines()
  assert len({len(line) for line in lines[:6]}) == 1
  assert sum(line.startswith('FAIL') for line in lines) == 2
  assert sum(line.startswith('pass') for line in lines) == 3


def test_json_round_trip(real):
  stored = json.loads(json.dumps(real.as_dict(), allow_nan=False))
  assert stored['passed'] is True
  assert stored['rows'][0]['recall'] == real.rows[0].recall
  assert [check['ok'] for check in stored['checks']] == [True] * 6


def test_other_features_are_used_and_named(digits):
  train, held_out = digits

  def halves(images):
    return images.reshape(len(images), 2, 32).mean(axis=2)

  judgement = distribution.judge(
    {'samples': held_out}, train, held_out, features=halves
  )
  assert judgement.rows[0].label_accuracy < 0.7  # two numbers a digit
  assert 'halves' in judgement.caption


@pytest.mark.parametrize('count', [0, 3])
def test_too_few_images_are_refused(digits, count):
  train, held_out = digits
  with pytest.raises(errors.DataError):
    few = baselines.Labelled(held_out.images[:count], held_out.labels[:count])
    distribution.judge({'samples': few}, train, held_out)
