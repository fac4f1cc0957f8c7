import pathlib

import numpy as np
import pytest

FILE = pathlib.Path(__file__).parents[1] / 'golden' / 'gen_metrics' / 'io.npz'


@pytest.fixture(scope='session')
def golden():
  """What the official codes say of given arrays."""
  with np.load(FILE, allow_pickle=False) as arrays:
    return dict(arrays)
