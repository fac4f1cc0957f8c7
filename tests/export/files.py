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


def run(file, out, *, seed=0, indices='np.arange(64, dtype=np.int32)'):
  """Runs the reader in a process of its own; gives its images and x."""
  flatbuffers = pytest.importorskip('flatbuffers', reason='not installed')
  place = str(pathlib.Path(flatbuffers.__file__).parents[1])
  code = reader().replace("'sampler.difjax', 0", f'{str(file)!r}, {seed}')
  code = code.replace('np.arange(64, dtype=np.int32)', indices)
  code = _ALONE.format(barred=_BARRED, place=place) + code
  code += f'\nnp.savez({str(out)!r}, images=images, x=x)\n'
  kept = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  # As the tests compile, so that bits can be compared.
  kept['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
  done = subprocess.run(
    [sys.executable, '-I', '-c', code], env=kept, cwd=out.parent, check=False,
    capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  with np.load(out) as found:
    return found['images'], found['x']
