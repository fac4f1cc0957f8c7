"""What is installed and what it runs on, in words."""

from __future__ import annotations

import importlib.metadata
import os
import platform

PACKAGES = (
  'difjax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'diffrax',
  'grain', 'tensorflow-datasets', 'ml-collections', 'numpy', 'scikit-learn',
)  # fmt: skip


def versions() -> dict[str, str | None]:
  """Returns the versions of what difjax stands on, None where missing."""
  found = {}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = None
  return found


def machine() -> str:
  """Returns Python, system and processor in a line."""
  ours = getattr(os, 'sched_getaffinity', None)  # not on every system
  cores = len(ours(0)) if ours else os.cpu_count()
  return (
    f'Python {platform.python_version()} on {platform.system()} '
    f'{platform.machine()}, {cores} cores'
  )


def devices() -> str:
  """Returns the devices that jax sees; this starts its backend."""
  import jax

  kinds = [device.device_kind for device in jax.devices()]
  counted = (f'{kinds.count(kind)} x {kind}' for kind in dict.fromkeys(kinds))
  return f'{", ".join(counted)} ({jax.default_backend()})'
