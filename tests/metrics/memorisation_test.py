"""Memorising as it is made by hand, and real images that are not memorised."""

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import memorisation

LINE = np.array([[0.0], [1.0], [3.0], [7.0]])


def test_ratio_by_hand():
  # Distances from 2.5: 0.5, 1.5, 2.5, of mean 1.5; half of it is 0.75.
  table = memorisation.neighbours([[2.5], [1.0]], LINE, count=3)
  np.testing.assert_array_equal(table.indices, [[2, 1, 0], [1, 0, 2]])
  np.testing.assert_allclose(table.distances, [[0.5, 1.5, 2.5], [0, 1, 2]])
  np.testing.assert_allclose(table.ratios, [0.5 / 0.75, 0])
  np.testing.assert_array_equal(table.suspects(2), [1, 0])


def test_a_sample_that_the_set_holds_many_times_has_ratio_zero():
  table = memorisation.neighbours([[1.0]], np.ones((5, 1)), count=5)
  np.testing.assert_array_equal(table.ratios, 0)


def test_authentic_by_hand():
  # Nearest of 2.2 is 3, whose own nearest is 2 away: no. Nearest of 11 is 7,
  # whose own nearest is 4 away: a tie, so no; 12 is farther: yes. -3: yes.
  got = memorisation.authentic([[2.2], [11.0], [12.0], [-3.0]], LINE)
  np.testing.assert_array_equal(got, [False, False, True, True])


def test_a_training_image_that_is_there_twice_makes_all_others_authentic():
  got = memorisation.authentic([[0.1], [0.0]], [[0.0], [0.0], [5.0]])
  np.testing.assert_array_equal(got, [True, False])


@pytest.fixture(scope='module')
def clouds():
  rng = np.random.default_rng(0)
  return rng.normal(size=(300, 20)), rng.normal(size=(300, 20)), rng


def test_copies_are_flagged(clouds):
  train, held_out, rng = clouds
  copies = train[rng.integers(0, 300, 100)] + 0.05 * rng.normal(size=(100, 20))
  got = memorisation.memorised(copies, held_out, train)
  assert got.flagged
  assert (got.copied, got.authentic) == (1, 0)
  assert got.copied_held_out < 0.05
  assert got.authentic_held_out > 0.3
  assert got.nearest_ratio < 0.1


def test_a_few_copies_among_many_are_flagged(clouds):
  train, held_out, rng = clouds
  samples = np.concatenate([rng.normal(size=(290, 20)), train[:12]])
  got = memorisation.memorised(samples, held_out, train)
  assert got.flagged
  assert got.copied == pytest.approx(12 / 302)


def test_new_draws_of_the_law_are_not(clouds):
  train, held_out, rng = clouds
  got = memorisation.memorised(rng.normal(size=(300, 20)), held_out, train)
  assert not got.flagged
  assert got.nearest_ratio == pytest.approx(1, abs=0.05)


def test_what_real_images_do_as_well_is_not_held_against_samples(clouds):
  # A training set with near duplicates: a tenth of any new set copies them.
  train, held_out, rng = clouds
  samples = rng.normal(size=(300, 20))
  held_out = held_out.copy()
  samples[:30], held_out[:30] = train[:30], train[30:60]
  got = memorisation.memorised(samples, held_out, train)
  assert got.copied == got.copied_held_out == pytest.approx(0.1)
  assert not got.flagged


def table(copies, count):
  """A table of so many copies, of ratio 0, among images of ratio 2."""
  ratios = np.where(np.arange(count) < copies, 0.0, 2.0)
  return memorisation.Neighbours(
    indices=np.zeros((count, 1), int), distances=np.ones((count, 1)),
    ratios=ratios, authentic=ratios > 1,
  )  # fmt: skip


@pytest.mark.parametrize(
  ('copies', 'count', 'held_out', 'flagged'),
  [
    (300, 1_000, (200, 1_000), False),  # sure, but not twice as often
    (399, 1_000, (200, 1_000), False),
    (400, 1_000, (200, 1_000), True),
    (5, 10, (2, 10), False),  # twice as often, but by chance
    (9, 1_000, (0, 1_000), False),  # 2^-9: more than a chance of 1e-3
    (10, 1_000, (0, 1_000), True),
    (0, 1_000, (0, 1_000), False),
    (10, 10, (6, 10), False),  # nothing is twice as often as that
  ],
)
def test_flagged_are_twice_as_many_copies_and_no_chance(
  copies, count, held_out, flagged
):
  got = memorisation.compared(table(copies, count), table(*held_out))
  assert got.flagged == flagged
  assert (got.copied, got.copied_held_out) == (
    copies / count, held_out[0] / held_out[1]
  )  # fmt: skip
  at = round(got.allowed * count)
  below, above = (
    memorisation.compared(table(n, count), table(*held_out)).flagged
    for n in (at, min(at + 1, count))
  )
  assert not below
  assert above == (at < count)


def test_the_chance_is_fishers(clouds):
  # 4 of 4 against 0 of 4 copies: one table of binom(8, 4) = 70.
  train, held_out, _ = clouds
  got = memorisation.memorised(train[:4], held_out[:4], train)
  assert (got.copied, got.copied_held_out) == (1, 0)
  assert got.chance == pytest.approx(1 / 70)


def test_too_few_training_images_are_refused():
  with pytest.raises(errors.DataError, match='N >= 50'):
    memorisation.memorised(LINE, LINE, LINE)
