"""What is said of the machine."""

from __future__ import annotations

import pathlib
import platform

import pytest

from difjax import environment


@pytest.mark.parametrize(
  ('text', 'named'),
  [
    ('processor\t: 0\nmodel name\t: Chip: 2 GHz \nflags\t: a', 'Chip: 2 GHz'),
    ('processor\t: 0\nfeatures\t: no model name : here', None),
  ],
)  # fmt: skip
def test_the_processor_is_named_where_something_says_so(
  text, named, monkeypatch
):
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda self: text)
  monkeypatch.setattr(platform, 'processor', lambda: '')
  assert environment.processor() == named


def test_versions_of_what_is_not_installed_are_none():
  found = environment.versions(('jax', 'no-such-package'))
  assert found['jax']
  assert found['no-such-package'] is None
