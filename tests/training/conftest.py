"""Training is tested on programs that compile quickly."""

import pytest

from tests import tiny


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  """Compiles quickly."""
  with tiny.quick_compilation():
    yield
