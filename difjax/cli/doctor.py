"""difjax doctor: says what is installed, what runs and what is missing.

  difjax doctor

Leaves with 0 if training can run here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

from difjax import environment, errors
from difjax.cli import arguments

_OPTIONAL = (
  ('tensorflow', 'tfds', 'downloads and prepares data sets by name'),
  ('wandb', 'wandb', 'metrics on Weights & Biases'),
  ('libtpu', 'tpu', 'runs on Cloud TPU'),
  ('jax_cuda12_plugin', 'cuda', 'runs on NVIDIA GPUs'),
)


def main(argv: list[str]) -> int:
  """Prints the diagnosis; returns the exit code."""
  arguments.parse(argv, lambda values: None, __doc__)
  print(environment.machine())
  versions = environment.versions()
  for name, version in versions.items():
    print(f'  {name:<22}{version or "MISSING"}')
  missing = [name for name, version in versions.items() if version is None]
  if missing:
    raise errors.ConfigError(
      f'{", ".join(missing)} not installed: pip install -e . in the repository'
    )
  print(f'devices: {environment.devices()}')
  print(f'step: {_step()}')
  free = shutil.disk_usage(os.getcwd()).free / 2**30
  print(f'disk: {free:.1f} GiB free here')
  cache = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  print(
    f'compiled programs are kept in {cache}'
    if cache
    else 'compiled programs are not kept: set JAX_COMPILATION_CACHE_DIR'
  )
  for module, extra, purpose in _OPTIONAL:
    if importlib.util.find_spec(module) is None:
      print(f'not installed: {module}, which {purpose}: extra [{extra}]')
  print('difjax can train here')
  return 0


def _step() -> str:
  """Runs one matrix product where training would run it."""
  import jax
  import jax.numpy as jnp

  found = jax.jit(lambda x: (x @ x).sum())(jnp.ones((128, 128)))
  if float(found) != 128**3:
    raise errors.DifjaxError(f'a matrix product came out as {float(found)}')
  return 'a compiled matrix product is right'
