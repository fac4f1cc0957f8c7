import pathlib

import numpy as np
import pytest

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'


@pytest.fixture(scope='session')
def golden():
  """What the official codes say of given arrays."""
  file = SHARED / 'gen_metrics' / 'io.npz'
  if not file.exists():
    pytest.skip(f'the official outputs are not here: {file}')
  with np.load(file, allow_pickle=False) as arrays:
    return dict(arrays)
