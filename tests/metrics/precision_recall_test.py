"""Precision and recall of points whose balls can be drawn on paper."""

import dataclasses

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import distances, precision_recall


def column(*numbers):
  return np.array(numbers, float)[:, None]


# With k = 1 the radii are 1, 1, 2 (balls [-1, 1], [0, 2], [1, 5]).
REAL = column(0, 1, 3)


def figures(generated, real, **options):
  return dataclasses.astuple(
    precision_recall.overlap(generated, real, **options)
  )


@pytest.mark.parametrize('chunk', [1, 2, 100])
def test_points_on_a_line(chunk):
  # Generated radii 1.5, 1.5, 6: balls [.5, 3.5], [2, 5], [-3.5, ...]. In real
  # balls: 2 in [0, 2] and [1, 5]; 3.5 in [1, 5]; 9.5 in none.
  generated = column(2, 3.5, 9.5)
  got = figures(generated, REAL, k=1, chunk=chunk)
  np.testing.assert_allclose(got, (2 / 3, 2 / 3, 3 / 3, 2 / 3))


def test_a_point_on_the_sphere_is_inside():
  # 5 is on the sphere of 3; a hair further it is outside every ball.
  on, off = column(5, 5), column(np.nextafter(5, 6), np.nextafter(5, 6))
  assert figures(on, REAL, k=1) == (1, 0, 1, 1 / 3)
  assert figures(off, REAL, k=1) == (0, 0, 0, 0)


def test_collapse_has_precision_and_no_recall():
  got = precision_recall.overlap(column(2.5, 2.5, 2.5, 2.5), REAL, k=2)
  assert (got.precision, got.recall) == (1, 0)


def test_the_set_itself_overlaps_fully():
  points = np.random.default_rng(0).normal(size=(60, 4))
  got = precision_recall.overlap(points, points[::-1])
  assert (got.precision, got.recall, got.coverage) == (1, 1, 1)


def test_swapping_the_sets_swaps_precision_and_recall():
  rng = np.random.default_rng(1)
  a, b = rng.normal(size=(80, 3)), rng.normal(0.7, 1, (80, 3))
  there, back = precision_recall.overlap(a, b), precision_recall.overlap(b, a)
  assert (there.precision, there.recall) == (back.recall, back.precision)
  assert 0 < there.precision < 1


def test_sets_far_apart_do_not_overlap():
  rng = np.random.default_rng(2)
  a, b = rng.normal(size=(2, 30, 3))
  assert figures(a, b + 100) == (0, 0, 0, 0)


def test_more_points_than_k_are_needed():
  with pytest.raises(errors.DataError, match='N >= 4'):
    precision_recall.overlap(REAL, REAL, k=3)


def test_open_balls_leave_the_sphere_out():
  # 5 is on the sphere of 3, 2 on those of 1 and 3; 2.5 is inside that of 3.
  generated = column(5, 2, 2.5)
  closed = precision_recall.overlap(generated, REAL, k=1)
  opened = precision_recall.overlap(generated, REAL, k=1, closed=False)
  assert (closed.precision, opened.precision) == (1, pytest.approx(2 / 3))
  assert closed.density == pytest.approx(4 / 3)
  assert opened.density == pytest.approx(2 / 3)


@pytest.mark.parametrize('k', [3, 5])
def test_prdc(golden, k):
  got = figures(golden['feat_fake'], golden['feat_real'], k=k, closed=False)
  names = 'precision', 'recall', 'density', 'coverage'
  exact = [golden[f'prdc_k{k}_{name}'] for name in names]
  np.testing.assert_allclose(got, exact, rtol=1e-12)


@pytest.mark.parametrize(
  ('k', 'prefix'),
  [(3, 'torchfidelity_prc_k3'), (5, 'torchfidelity_prc_k5'), (3, 'adm')],
)
def test_torch_fidelity_and_adm(golden, k, prefix):
  got = precision_recall.overlap(
    golden['feat_fake'], golden['feat_real'], k=k
  )
  exact = golden[f'{prefix}_precision'], golden[f'{prefix}_recall']
  np.testing.assert_allclose((got.precision, got.recall), exact, rtol=1e-7)


@pytest.mark.parametrize('k', [3, 5])
def test_f_score_of_torch_fidelity(golden, k):
  got = precision_recall.overlap(
    golden['feat_fake'], golden['feat_real'], k=k
  )
  exact = float(golden[f'torchfidelity_prc_k{k}_f_score'])
  assert got.f_score == pytest.approx(exact, rel=1e-6)
  apart = precision_recall.overlap(REAL, REAL + 100, k=1)
  assert apart.f_score == 0


@pytest.mark.parametrize(
  ('name', 'features'), [('real', 'feat_real'), ('fake', 'feat_fake')]
)
def test_radii_are_those_of_adm(golden, name, features):
  squared, _ = distances.k_nearest(golden[features], golden[features], 4)
  np.testing.assert_allclose(
    squared[:, 3:], golden[f'adm_radii_{name}'], rtol=1e-5
  )
