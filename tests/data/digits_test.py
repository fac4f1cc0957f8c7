import collections

import numpy as np
import pytest
from sklearn import datasets

from difjax.data import digits


@pytest.fixture(scope='module')
def splits():
  return digits.Digits(split='train'), digits.Digits(split='test')


def test_splits_are_disjoint_and_complete(splits):
  train, test = splits
  assert (len(train), len(test)) == (1297, 500)
  official = datasets.load_digits()
  expected = collections.Counter(
    (levels.astype(int).tobytes(), int(label))
    for levels, label in zip(official.data, official.target, strict=True)
  )
  found = collections.Counter()
  for part in splits:
    levels = np.round(part.arrays['image'].reshape(-1, 64) * (16 / 255))
    labels = part.arrays['label']
    found.update(
      (row.astype(int).tobytes(), int(label))
      for row, label in zip(levels, labels, strict=True)
    )
  assert found == expected


def test_classes_keep_their_shares(splits):
  share = [np.bincount(s.arrays['label']) / len(s) for s in splits]
  np.testing.assert_allclose(share[0], share[1], atol=2e-3)


def test_examples_are_bytes_with_labels(splits):
  for part in splits:
    assert part.shape == (8, 8, 1)
    assert part.num_classes == 10
    assert part.class_names == tuple('0123456789')
    assert part[0]['image'].dtype == np.uint8
    assert part[0]['label'].dtype == np.int32
    assert (part.arrays['image'].min(), part.arrays['image'].max()) == (0, 255)
  assert splits[0].fingerprint() != splits[1].fingerprint()
