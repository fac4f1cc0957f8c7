"""The Frechet distance against closed forms, singular covariances included."""

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import frechet, statistics


def gaussian(mean, covariance):
  return statistics.Gaussian(np.asarray(mean, float), np.asarray(covariance))


def rotation(d, seed=0):
  return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_one_dimension():
  # (1 - 4)^2 + (2 - 5)^2: means 1 and 4, standard deviations 2 and 5.
  a, b = gaussian([1], [[4.0]]), gaussian([4], [[25.0]])
  assert frechet.frechet_distance(a, b) == pytest.approx(18, rel=1e-12)


@pytest.mark.parametrize('rank', [64, 40, 1, 0])
def test_commuting_covariances(rank):
  # Common eigenvectors: sum of (sqrt(a_i) - sqrt(b_i))^2.
  rng, q = np.random.default_rng(1), rotation(64)
  a, b = rng.uniform(0.1, 3, (2, 64))
  a[rank:] = 0
  exact = 64 * 0.25 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
  distance = frechet.frechet_distance(
    gaussian(np.zeros(64), (q * a) @ q.T),
    gaussian(np.full(64, 0.5), (q * b) @ q.T),
  )
  assert distance == pytest.approx(exact, rel=1e-6)


def test_nearly_singular_covariances():
  # Standard deviations from 1 down to 1e-10: eigenvalues down to 1e-20.
  a, q = np.logspace(0, -20, 50), rotation(50, seed=5)
  b = np.roll(a, 3)
  exact = np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
  zero = np.zeros(50)
  distance = frechet.frechet_distance(
    gaussian(zero, (q * a) @ q.T), gaussian(zero, (q * b) @ q.T)
  )
  assert distance == pytest.approx(exact, rel=1e-6)


def test_two_by_two_that_do_not_commute():
  # For 2 x 2, tr M^{1/2} = sqrt(tr M + 2 sqrt(det M)) with M similar to A B.
  a = np.array([[2.0, 0.7], [0.7, 1.0]])
  b = np.array([[0.5, -0.3], [-0.3, 4.0]])
  root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
  exact = np.trace(a) + np.trace(b) - 2 * root
  zero = np.zeros(2)
  distance = frechet.frechet_distance(gaussian(zero, a), gaussian(zero, b))
  assert distance == pytest.approx(exact, rel=1e-10)


def test_rank_one_covariances_that_do_not_commute():
  # A = u u^T and B = v v^T: the cross term is |u . v|.
  u, v = np.random.default_rng(2).normal(size=(2, 200))
  exact = u @ u + v @ v - 2 * abs(u @ v)
  zero = np.zeros(200)
  distance = frechet.frechet_distance(
    gaussian(zero, np.outer(u, u)), gaussian(zero, np.outer(v, v))
  )
  assert distance == pytest.approx(exact, rel=1e-6)


def test_orthogonal_supports_share_nothing():
  a, b = np.diag([1.0, 4.0, 0, 0]), np.diag([0, 0, 9.0, 16.0])
  zero = np.zeros(4)
  distance = frechet.frechet_distance(gaussian(zero, a), gaussian(zero, b))
  assert distance == pytest.approx(30, rel=1e-12)


def test_fewer_images_than_features_are_at_no_distance_from_themselves():
  features = np.random.default_rng(3).normal(size=(20, 100))
  a = statistics.Moments.of(features).gaussian
  assert frechet.frechet_distance(a, a) <= 1e-11 * np.trace(a.covariance)


def test_symmetric():
  rng = np.random.default_rng(4)
  a, b = (
    statistics.Moments.of(rng.normal(size=(30, 8)) @ rng.normal(size=(8, 8)))
    for _ in range(2)
  )
  there = frechet.frechet_distance(a.gaussian, b.gaussian)
  back = frechet.frechet_distance(b.gaussian, a.gaussian)
  assert there == pytest.approx(back, rel=1e-10)


@pytest.mark.parametrize(
  ('mean', 'covariance'),
  [
    (np.zeros(3), np.eye(2)),
    (np.zeros(3), np.eye(3)),
    (np.zeros(2), np.eye(2) * np.nan),
    (np.zeros((2, 1)), np.eye(2)),
  ],
)
def test_statistics_that_do_not_fit_are_refused(mean, covariance):
  with pytest.raises(errors.DataError):
    frechet.frechet_distance(
      gaussian(np.zeros(2), np.eye(2)), gaussian(mean, covariance)
    )


@pytest.mark.parametrize(
  ('lowest', 'change'), [(0, 1e-3), (-2, 1e-6), (-6, 1e-4), (0, 1e-7)]
)
def test_a_tiny_distance_keeps_its_digits(lowest, change):
  # Down to 1e-15 of the traces, where their difference is rounding alone.
  rng, q = np.random.default_rng(6), rotation(50, seed=7)
  a = np.logspace(0, lowest, 50)
  b = a * (1 + change * rng.normal(size=50))
  exact = np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
  zero = np.zeros(50)
  distance = frechet.frechet_distance(
    gaussian(zero, (q * a) @ q.T), gaussian(zero, (q * b) @ q.T)
  )
  assert distance == pytest.approx(exact, rel=1e-6, abs=0)


def test_nearly_equal_covariances_of_different_rank():
  # (3) pads: the third direction of b has no partner in a.
  a = gaussian(np.zeros(3), np.diag([1.0, 1, 0]))
  b = gaussian(np.zeros(3), np.diag([1.0, 1, 1e-9]))
  for one, other in ((a, b), (b, a)):
    distance = frechet.frechet_distance(one, other)
    assert distance == pytest.approx(1e-9, rel=1e-6, abs=0)


CASES = (
  'well', 'rankdef', 'nearsing', 'rank1', 'one_zero', 'large', 'tiny'
)  # fmt: skip


def of_case(golden, case, i):
  names = f'fd_{case}_mu{i}', f'fd_{case}_sigma{i}'
  return statistics.Gaussian(*(golden[name] for name in names))


@pytest.mark.parametrize(
  'code', ['pytorch_fid', 'torch_fidelity', 'adm', 'pytorch_fid_scipy1153']
)
@pytest.mark.parametrize('case', CASES)
def test_official_codes(golden, case, code):
  distance = frechet.frechet_distance(
    of_case(golden, case, 1), of_case(golden, case, 2)
  )
  exact = float(golden[f'fd_{case}_{code}'])
  assert distance == pytest.approx(exact, rel=1e-7, abs=0)


@pytest.mark.parametrize('case', ['same', 'same_singular'])
def test_equal_statistics_are_at_no_distance(golden, case):
  # The official codes say up to 1.6e-7 here, and below 0.
  a, b = (of_case(golden, case, i) for i in (1, 2))
  assert 0 <= frechet.frechet_distance(a, b) < 1e-20


@pytest.mark.parametrize('code', ['adm_fid', 'torchfidelity_fid'])
def test_official_codes_from_features(golden, code):
  a, b = (
    statistics.Moments.of(golden[name]).gaussian
    for name in ('feat_real', 'feat_fake')
  )
  exact = float(golden[f'{code}_real_fake'])
  assert frechet.frechet_distance(a, b) == pytest.approx(exact, rel=1e-6)
