"""The kernel distance by hand, in expectation, and against torch-fidelity."""

import statistics

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import kernel

WHOLE = kernel.Partition(size=10**6)


def test_two_and_three_points_by_hand():
  # k = (x y + 1)^3 in one dimension: within 1 and 2, across the products below.
  a, b = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0], [0.0]])
  within = 1 + 2 * (27 + 1 + 1) / 6
  across = (1 + 1 + 1 + 8 + 27 + 1) / 6
  got = kernel.kernel_distance(a, b, pairs=WHOLE)
  assert got.mean == pytest.approx(within - 2 * across, rel=1e-12)


def test_sums_over_blocks_are_the_double_sum():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(1100, 3)), rng.normal(0.3, 1, (600, 3))
  k = lambda x, y: (x @ y.T / 3 + 1) ** 3
  apart = lambda x: (k(x, x).sum() - np.trace(k(x, x))) / len(x) / (len(x) - 1)
  exact = apart(a) + apart(b) - 2 * k(a, b).mean()
  got = kernel.kernel_distance(a, b, pairs=WHOLE)
  assert got.mean == pytest.approx(exact, rel=1e-9)


def test_unbiased_on_one_law():
  # 300 independent estimates: their mean is 0 within four standard errors.
  rng = np.random.default_rng(1)
  values = [
    kernel.kernel_distance(*rng.normal(size=(2, 12, 4)), pairs=WHOLE).mean
    for _ in range(300)
  ]
  assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
  assert min(values) < 0 < max(values)


def test_radial_kernel_in_expectation():
  # E k of N(mu, 2) differences is w / sqrt(w^2 + 2) exp(-mu^2 / (2 (w^2 + 2))).
  normal = statistics.NormalDist()
  a = np.array([[normal.inv_cdf((i + 0.5) / 800)] for i in range(800)])
  scale = 1.5**2 + 2
  exact = 2 * 1.5 / np.sqrt(scale) * (1 - np.exp(-4 / (2 * scale)))
  got = kernel.kernel_distance(a, a + 2, kernel.Radial(width=1.5), WHOLE)
  assert got.mean == pytest.approx(exact, rel=3e-3)


# The radial golden was made with width 4, whatever its config.json says (10).
@pytest.mark.parametrize(
  ('function', 'name'),
  [(kernel.Polynomial(), 'poly'), (kernel.Radial(width=4.0), 'rbf')],
)
def test_torch_fidelity(golden, function, name):
  got = kernel.kernel_distance(
    golden['feat_real'], golden['feat_fake'], function,
    kernel.Draws(count=20, size=100),
  )  # fmt: skip
  exact = golden[f'kid_{name}_mean'], golden[f'kid_{name}_std']
  np.testing.assert_allclose(got, exact, rtol=3e-6)


def test_torch_fidelity_with_one_subset(golden):
  got = kernel.kernel_distance(
    golden['feat_real'], golden['feat_fake'],
    pairs=kernel.Draws(count=1, size=180),
  )  # fmt: skip
  assert got.mean == pytest.approx(float(golden['kid_full_mean']), rel=2e-6)


def test_a_partition_uses_every_feature_once():
  pairs = list(kernel.Partition(size=4)(10, 7))
  assert [(len(i), len(j)) for i, j in pairs] == [(3, 2), (4, 3), (3, 2)]
  for side, count in ((0, 10), (1, 7)):
    joined = np.concatenate([pair[side] for pair in pairs])
    np.testing.assert_array_equal(joined, np.arange(count))


@pytest.mark.parametrize(
  ('a', 'b', 'pairs', 'match'),
  [
    (np.ones((9, 2)), np.ones((9, 3)), WHOLE, 'of 2 and of 3'),
    (np.ones((9, 2)), np.ones((9, 2)), kernel.Draws(), '1000'),
    (np.ones((9, 2)), np.ones((2, 2)), kernel.Partition(size=3), 'unbiased'),
    (np.full((9, 2), np.nan), np.ones((9, 2)), WHOLE, 'NaN'),
  ],
)
def test_what_cannot_be_compared_is_refused(a, b, pairs, match):
  with pytest.raises(errors.DataError, match=match):
    kernel.kernel_distance(a, b, pairs=pairs)
