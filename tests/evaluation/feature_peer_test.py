"""Theirs where it is installed, and one line where it is not."""

from __future__ import annotations

import sys

import pytest

from difjax import errors
from difjax.evaluation import feature_peer


def test_without_torch_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pytorch_fid', None)
  with pytest.raises(errors.ConfigError, match='pip install torch') as error:
    feature_peer.PytorchFidPeer().actions()
  assert '\n' not in str(error.value)
