"""What is installed and what it runs on, in words."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import time
from collections.abc import Iterable

PACKAGES = (
  'difjax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'diffrax',
  'grain', 'tensorflow-datasets', 'ml-collections', 'numpy', 'scikit-learn',
)  # fmt: skip


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
  """Returns versions, of what difjax stands on, None where missing."""
  found = {}
  for name in packages:
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


def processor() -> str | None:
  """Returns what the processor is called, None where nothing says so."""
  with contextlib.suppress(OSError):  # Linux alone has it
    text = pathlib.Path('/proc/cpuinfo').read_text()
    found = re.search(r'^model name\s*: (.+)$', text, re.MULTILINE)
    if found:
      return found[1].strip()
  return platform.processor() or None


def began() -> float:
  """Returns when this process was started, by `time.time`; now if unknown."""
  try:
    stat = pathlib.Path('/proc/self/stat').read_text()  # Linux alone has it
    ticks = int(stat.rpartition(')')[2].split()[19])
    booted = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = booted - ticks / os.sysconf('SC_CLK_TCK')
  except (OSError, AttributeError, ValueError, IndexError):
    age = 0.0
  return time.time() - max(age, 0.0)


def devices() -> str:
  """Returns the devices that jax sees; this starts its backend."""
  import jax

  kinds = [device.device_kind for device in jax.devices()]
  counted = (f'{kinds.count(kind)} x {kind}' for kind in dict.fromkeys(kinds))
  return f'{", ".join(counted)} ({jax.default_backend()})'


def commit() -> str | None:
  """Returns the checkout's commit, with -dirty where files differ from it.

  None where difjax was installed without its repository.
  """
  root = pathlib.Path(__file__).parents[1]
  if not (root / '.git').exists():
    return None
  ask = ('describe', '--always', '--dirty', '--abbrev=40', '--exclude=*')
  try:
    found = subprocess.run(
      ('git', '-C', root, *ask), capture_output=True, text=True, timeout=10
    )
  except (OSError, subprocess.TimeoutExpired):  # no git, or a slow disk
    return None
  return found.stdout.strip() or None
