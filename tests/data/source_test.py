import dataclasses
import functools

import numpy as np
import pytest

from difjax import errors
from difjax.data import source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ramp(source.InMemory):
  """Image i is filled with i; its label is i mod 3."""

  n: int = 7

  @functools.cached_property
  def arrays(self):
    numbers = np.arange(self.n)
    image = np.broadcast_to(numbers[:, None, None, None], (self.n, 2, 3, 1))
    return {
      'image': image.astype(np.uint8),
      'label': (numbers % 3).astype(np.int32),
    }


class Listed(source.Source):
  """The least that a lab has to write."""

  def __len__(self):
    return 4

  def __getitem__(self, i):
    return {'image': np.full((2, 2, 3), i, np.uint8)}

  def fingerprint(self):
    return 'listed'


def test_in_memory_answers_from_its_arrays():
  ramp = Ramp()
  assert len(ramp) == 7
  assert ramp.shape == (2, 3, 1)
  assert ramp.num_classes == 3
  assert ramp[5]['image'].tolist() == [[[5]] * 3] * 2
  taken = ramp.take(np.array([6, 0, 6]))
  assert taken['image'][:, 0, 0, 0].tolist() == [6, 0, 6]
  assert taken['label'].tolist() == [0, 0, 0]


def test_three_methods_make_a_source():
  listed = Listed()
  assert listed.shape == (2, 2, 3)
  assert (listed.num_classes, listed.class_names) == (0, ())
  taken = listed.take(np.array([3, 1]))
  assert set(taken) == {'image'}
  assert taken['image'][:, 0, 0, 0].tolist() == [3, 1]


@pytest.mark.parametrize('whole', [Ramp(), Listed()])
def test_subset_is_a_window(whole):
  part = source.Subset(source=whole, start=1, stop=4)
  assert len(part) == 3
  assert part.shape == whole.shape
  np.testing.assert_array_equal(part[0]['image'], whole[1]['image'])
  np.testing.assert_array_equal(
    part.take(np.array([2, 0]))['image'],
    whole.take(np.array([3, 1]))['image'],
  )
  with pytest.raises(IndexError):
    part[3]


@pytest.mark.parametrize('bounds', [(0, 8), (-1, 3), (3, 3), (5, 2)])
def test_span_refuses_what_is_not_there(bounds):
  with pytest.raises(errors.DataError, match='7 examples'):
    source.span(7, *bounds)


def test_fingerprints_tell_data_apart():
  prints = [
    Ramp(n=7).fingerprint(),
    Ramp(n=8).fingerprint(),
    source.Subset(source=Ramp(), stop=3).fingerprint(),
    source.Subset(source=Ramp(), stop=4).fingerprint(),
  ]
  assert len(set(prints)) == 4
  assert Ramp(n=7).fingerprint() == prints[0]


@pytest.mark.parametrize(
  ('a', 'b'),
  [
    ([1, [2, 3]], [[1, 2], 3]),
    (['ab', 'c'], ['a', 'bc']),
    (np.zeros(4, np.int32), np.zeros(4, np.float32)),
    (np.zeros((2, 3)), np.zeros((3, 2))),
  ],
)
def test_digest_sees_structure(a, b):
  assert source.digest(a) != source.digest(b)
  assert source.digest(a) == source.digest(a)
