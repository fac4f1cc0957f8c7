"""Runs the README's reader where neither difjax nor flax can be imported."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests import tiny

# Isolated Python does not see the checkout; what else is installed beside jax
# is not found either.
_ALONE = """
import sys
class Barred:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in {barred!r}:
      raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Barred())
sys.path.append({place!r})
"""
_BARRED = (
  'difjax', 'flax', 'optax', 'orbax', 'ml_collections', 'absl', 'etils',
  'safetensors', 'tensorstore', 'diffrax', 'equinox',
)  # fmt: skip


def reader():
  """The code in the README."""
  text = (tiny.ROOT / 'README.md').read_text()
  (found,) = re.findall(r'```python\n(import json, zipfile.*?)```', text, re.S)
  return found


def code(file, out, *, seed=0, indices="np.arange(64, dtype='i4')"):
  """The reader of a file, for some images; it keeps them and x as npz."""
  found = reader()
  for old, new in (
    ("'sampler.difjax'", repr(str(file))),
    ("np.arange(64, dtype='i4')", indices),
    ('np.uint32(0)', f'np.uint32({seed})'),
  ):
    assert found.count(old) == 1
    found = found.replace(old, new)
  return f'{found}\nnp.savez({str(out)!r}, images=images, x=x)\n'


def run(file, out, *, general=False, **which):
  """Runs the reader in a process of its own; gives its images and x."""
  flatbuffers = pytest.importorskip('flatbuffers', reason='not installed')
  place = str(pathlib.Path(flatbuffers.__file__).parents[1])
  text = _ALONE.format(barred=_BARRED, place=place) + code(file, out, **which)
  if general:
    text = text.replace("f'{at}.jax'", "'sampler.jax'")
  kept = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  # As the tests compile, so that bits can be compared.
  kept['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
  done = subprocess.run(
    [sys.executable, '-I', '-c', text], env=kept, cwd=out.parent, check=False,
    capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  with np.load(out) as found:
    return found['images'], found['x']
