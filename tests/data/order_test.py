import numpy as np
import pytest

from difjax import errors
from difjax.data import order


@pytest.mark.parametrize('n', [1, 3, 101, 1297])
def test_every_epoch_holds_every_example_once(n):
  epochs, indices = order.Order(seed=5, n=n).index(np.arange(2 * n))
  for epoch in (0, 1):
    assert sorted(indices[epochs == epoch]) == list(range(n))


def test_rows_may_be_asked_in_any_cut():
  shuffled = order.Order(seed=1, n=211)
  epochs, indices = shuffled.index(np.arange(500))
  rows = np.array([499, 0, 210, 211, 422])
  some_epochs, some_indices = shuffled.index(rows)
  assert some_epochs.tolist() == [2, 0, 0, 1, 2] == epochs[rows].tolist()
  np.testing.assert_array_equal(some_indices, indices[rows])


def test_seed_and_epoch_change_the_order():
  n = 500
  _, indices = order.Order(seed=1, n=n).index(np.arange(2 * n))
  _, other = order.Order(seed=2, n=n).index(np.arange(n))
  orders = [indices[:n], indices[n:], other, np.arange(n)]
  for i in range(4):
    for j in range(i):
      # Two random permutations agree in one place on average.
      assert (orders[i] == orders[j]).sum() < 8


def test_places_are_spread_evenly():
  n, seeds = 101, 40
  first = [
    order.Order(seed=seed, n=n).index(np.arange(5))[1] for seed in range(seeds)
  ]
  # Standard error of the mean of 200 uniform draws on 0..100 is about 2.1.
  assert abs(np.mean(first) - 50) < 8


def test_bad_orders_are_refused():
  with pytest.raises(errors.DataError, match='no examples'):
    order.Order(seed=0, n=0)
  with pytest.raises(errors.ConfigError, match='seed=-1'):
    order.Order(seed=-1, n=3)
