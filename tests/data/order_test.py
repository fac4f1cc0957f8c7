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


CHUNKS = [(1,), (5, 7, 3), (0, 4, 0, 0, 9, 1), (11,) * 10, (101, 1, 1, 50)]


@pytest.mark.parametrize('window', [1, 2, 3, 50])
@pytest.mark.parametrize('chunks', CHUNKS)
def test_windows_hold_every_example_once(chunks, window):
  n = sum(chunks)
  shuffled = order.Windowed(seed=5, chunks=chunks, window=window)
  epochs, indices = shuffled.index(np.arange(3 * n))
  for epoch in range(3):
    assert sorted(indices[epochs == epoch]) == list(range(n))
  rows = np.random.default_rng(0).permutation(3 * n)[: n + 1]
  np.testing.assert_array_equal(shuffled.index(rows)[1], indices[rows])


@pytest.mark.parametrize('window', [1, 2, 4])
def test_a_window_is_m_shards(window):
  shuffled = order.Windowed(seed=1, chunks=(20,) * 8, window=window)
  _, indices = shuffled.index(np.arange(2 * 160))
  seen = []
  for begin in range(0, 2 * 160, 20 * window):
    held = indices[begin : begin + 20 * window]
    shards = set((held // 20).tolist())
    assert len(shards) == window
    seen.append(tuple(shards))
    # Within it the shards are mixed, and not as they stand.
    assert (np.diff(held) != 1).sum() > 0.7 * len(held)
  half = len(seen) // 2
  assert seen[:half] != seen[half:]  # shards come in another order


def test_seed_and_epoch_change_windows():
  make = lambda seed: order.Windowed(seed=seed, chunks=(50,) * 10, window=3)
  _, indices = make(1).index(np.arange(1000))
  _, other = make(2).index(np.arange(500))
  orders = [indices[:500], indices[500:], other, np.arange(500)]
  for i in range(4):
    for j in range(i):
      assert (orders[i] == orders[j]).sum() < 20


def test_bad_windows_are_refused():
  with pytest.raises(errors.ConfigError, match='window=0'):
    order.Windowed(seed=0, chunks=(3,), window=0)
  with pytest.raises(errors.DataError, match='no examples'):
    order.Windowed(seed=0, chunks=(0, 0), window=1)
