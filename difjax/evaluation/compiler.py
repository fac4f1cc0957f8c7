"""The compiler of TPUs on a machine without one, and what it refuses.

libtpu compiles ahead of time for a slice that it is told of by name. It asks
Google Cloud where it runs and locks the machine, unless its environment says
not to: see `difjax/cli/plan.py`.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence

import jax

from difjax import errors
from difjax.training import mesh as meshes
from difjax.training import topology
from difjax.training import trainer as trainers

_PACKAGES = ('jax', 'jaxlib', 'libtpu')
_GIB = 2**30
_USED = re.compile(r'Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm')
_UNITS = 'KMGT'


def versions() -> dict[str, str | None]:
  """Returns the versions of what compiles, None where missing."""
  found: dict[str, str | None] = dict.fromkeys(_PACKAGES)
  for name in _PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def devices(place: topology.Slice) -> Sequence[jax.Device]:
  """Returns the devices of a slice, to compile for and not to run on.

  Raises:
    ConfigError: libtpu is missing, or knows no such slice.
  """
  from jax.experimental import topologies

  if versions()['libtpu'] is None:
    raise errors.ConfigError(
      f'a plan for {place.name} needs the compiler of TPUs: pip install '
      'difjax[plan], or libtpu==0.0.42.* beside this jax'
    )
  try:
    found = topologies.get_topology_desc(
      platform='tpu', topology_name=place.name, **place.options()
    )
  except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
    reason = str(error).splitlines()[0]
    raise errors.ConfigError(f'{place.name}: {reason}') from error
  return found.devices


def refusal(
  error: Exception,
  trainer: trainers.Trainer,
  mesh: jax.sharding.Mesh,
  state_bytes: int,
) -> errors.ConfigError:
  """Returns what to say of a step that the compiler refuses.

  Args:
    error: of the compiler.
    trainer: the run.
    mesh: its devices.
    state_bytes: that a device holds, parameters, moments and averages.
  """
  text = str(error)
  if 'RESOURCE_EXHAUSTED' not in text:
    return errors.ConfigError(f'the compiler refuses: {text.splitlines()[0]}')
  used = _USED.search(text)
  if used is None:
    return errors.ConfigError(advice(trainer, mesh, state_bytes))
  needed, there = (
    float(used[i]) * 2 ** (10 * (1 + _UNITS.index(used[i + 1])))
    for i in (1, 3)
  )
  return errors.ConfigError(
    advice(trainer, mesh, state_bytes, int(needed), int(there))
  )


def advice(
  trainer: trainers.Trainer,
  mesh: jax.sharding.Mesh,
  state_bytes: int,
  needed: int | None = None,
  there: int | None = None,
) -> str:
  """Says what to change in a run that does not fit in memory.

  The state shrinks by sharding, all else by smaller batches a device and by
  computing again what the backward pass needs.

  Args:
    trainer: the run.
    mesh: its devices.
    state_bytes: that a device holds.
    needed: bytes of a device in all, if that is known.
    there: that it has, if that is known.
  """
  size = '' if needed is None else f': {needed / _GIB:.1f} GiB'
  if there is not None:
    size += f' of {there / _GIB:.1f} GiB'
  remedies = []
  fsdp, shards = mesh.shape['fsdp'], meshes.batch_shards(mesh)
  if fsdp < mesh.size and (there is None or 4 * state_bytes > there):
    remedies.append(f'config.mesh.fsdp={2 * fsdp} or more (now {fsdp})')
  network = getattr(trainer.objective, 'network', None)
  if getattr(network, 'remat', None) is False:
    remedies.append('config.objective.network.remat=True')
  rows, parts = trainer.data.batch_size, trainer.optimiser.accumulate
  if not rows % (2 * parts * shards):
    remedies.append(f'config.optimiser.accumulate={2 * parts} (now {parts})')
  if rows > parts * shards:
    half = max(rows // 2 // (parts * shards), 1) * parts * shards
    remedies.append(f'config.data.batch_size={half} (now {rows})')
  remedies.append('more or larger chips')
  return (
    f'the step does not fit in the memory of a device{size}; the state is '
    f'{state_bytes / _GIB:.2f} GiB of it. Change: {", or ".join(remedies)}'
  )
