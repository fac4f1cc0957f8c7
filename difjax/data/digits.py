"""The 8x8 digits of scikit-learn: a data set that needs no download."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np

from difjax.data import source
from difjax.typing import Array

TEST_SIZE = 500  # of 1,797


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits(source.InMemory):
  """Handwritten digits [8, 8, 1] of ten classes (Alpaydin and Kaynak 1998).

  The grey levels 0..16 become round(255 v / 16). One fixed stratified split
  has 1,297 training and 500 test examples.

  Attributes:
    split: which part.
  """

  split: Literal['train', 'test'] = 'train'

  @functools.cached_property
  def arrays(self) -> dict[str, Array]:
    """Image [N, 8, 8, 1] uint8 and label [N] int32 of the split."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    numbers = np.arange(len(digits.target))
    train, test = model_selection.train_test_split(
      numbers, test_size=TEST_SIZE, stratify=digits.target, random_state=0
    )
    chosen = np.sort({'train': train, 'test': test}[self.split])
    levels = np.round(digits.images[chosen] * (255 / 16))
    return {
      'image': levels.astype(np.uint8)[..., None],
      'label': digits.target[chosen].astype(np.int32),
    }

  @property
  def class_names(self) -> tuple[str, ...]:
    """The digits themselves."""
    return tuple('0123456789')
