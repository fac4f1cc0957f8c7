"""Fixtures of the launchers' tests."""

from __future__ import annotations

import pytest

from tests.launch import sandbox as sandboxes


@pytest.fixture
def sandbox(tmp_path):
  """A machine on which every cloud is a fake."""
  return sandboxes.make(tmp_path)
