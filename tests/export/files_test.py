"""The jobs of `difjax export`: what is refused before any work."""

from __future__ import annotations

import pytest

from difjax import errors
from difjax.evaluation import job
from difjax.export import files


def test_a_folder_is_no_place_for_a_file(tmp_path):
  """Though there is no run either, which is found out later."""
  with pytest.raises(errors.ConfigError, match='is a folder: give the file'):
    files.parameters(tmp_path / 'run', tmp_path)
  with pytest.raises(errors.ConfigError, match='is a folder: give the file'):
    files.sampler(tmp_path / 'run', tmp_path, job.Wanted(), sampler={},
                  leads={})
