"""One job of several processes: who they are, before any device is touched.

Each process of a job runs the same command; jax joins them to one set of
devices. Who is who comes from the first of these that says it:

  flags           --coordinator=HOST:PORT --num_processes=N --process_id=I
  environment     DIFJAX_COORDINATOR, DIFJAX_NUM_PROCESSES, DIFJAX_PROCESS_ID
  the platform    Cloud TPU, Slurm (under srun), Open MPI, Kubernetes, by jax

`num_processes=1` alone is one process by itself, whatever the platform says.

Nothing may install a handler of SIGTERM before `initialize`: jax notes that
signal from there on, and an earlier handler is never called.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import types
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from difjax import errors
from difjax.typing import PyTree

_TPU = 'Cloud TPU'
# Which variables a platform sets for each process of a job, and the one that
# counts them where there is one: a job of one needs nothing.
_PLATFORMS = types.MappingProxyType({
  'Slurm': (
    'SLURM_NTASKS', 'SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_PROCID',
    'SLURM_LOCALID',
  ),
  'Open MPI': ('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK'),
  _TPU: (None, 'TPU_WORKER_HOSTNAMES', 'TPU_WORKER_ID'),
  'Kubernetes': (None, 'KUBERNETES_SERVICE_HOST', 'JOB_COMPLETION_INDEX'),
})  # fmt: skip
_ALONE = types.MappingProxyType({'num_processes': 1})


def initialize(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  timeout: int = 300,
  heartbeat: int = 100,
) -> bool:
  """Joins this process to its job, if it is part of one.

  Must come before anything that touches a device; a second call does nothing.

  Args:
    coordinator: HOST:PORT at which process 0 is found; see above for None.
    num_processes: of the job.
    process_id: of this one, from 0.
    timeout: seconds to wait for the others.
    heartbeat: seconds after which a process that is silent is given up.

  Returns:
    Whether it is part of a job.

  Raises:
    ConfigError: what is said of the job is incomplete or malformed.
    RetryError: the others were not met in time.
  """
  if jax.distributed.is_initialized():
    return True
  said = _said(coordinator, num_processes, process_id)
  if said == _ALONE:
    return False
  platform = None if said else detected(os.environ)
  if not (said or platform):
    return False
  try:
    jax.distributed.initialize(
      **said, initialization_timeout=timeout,
      heartbeat_timeout_seconds=heartbeat,
    )  # fmt: skip
  except Exception as error:  # jax, its runtime and platforms raise many kinds
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if platform == _TPU and 'should be defined' in reason:
      return False  # chips, but no job: a TPU VM that only looks like one
    late = 'DEADLINE' in reason or 'UNAVAILABLE' in reason
    kind = errors.RetryError if late else errors.ConfigError
    raise kind(
      f'this process cannot join its job{f" by {platform}" if platform else ""}'
      f': {reason}; look at --coordinator, --num_processes and --process_id or '
      'DIFJAX_COORDINATOR, DIFJAX_NUM_PROCESSES, DIFJAX_PROCESS_ID'
    ) from error
  return True


def detected(environment: Mapping[str, str]) -> str | None:
  """Returns the platform whose job this process is part of, if any."""
  for platform, (count, *names) in _PLATFORMS.items():
    several = count is None or int(environment.get(count, 1)) > 1
    if several and all(name in environment for name in names):
      return platform
  # A TPU VM says who it is by its metadata, not by its environment.
  chips = glob.glob('/dev/accel*') or glob.glob('/dev/vfio/[0-9]*')
  return _TPU if chips and importlib.util.find_spec('libtpu') else None


def is_first() -> bool:
  """Says whether this is the process that writes files."""
  return jax.process_index() == 0


def from_first(number: int) -> int:
  """Returns the number, below 2^31, that process 0 gave; all must call it.

  Clocks and views of a file system differ between hosts; a save, a walk back or
  a refusal must happen on every process or on none, or the others wait for
  ever. It waits for the steps that were dispatched: call it seldom.
  """
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def barrier(name: str) -> None:
  """Waits until every process of the job has come to this point."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def whole(tree: PyTree) -> PyTree:
  """Returns arrays that this process can read by itself.

  Of a job of several processes all must call it: what is spread over them is
  gathered, onto the host.
  """
  if jax.process_count() == 1:
    return tree
  return multihost_utils.process_allgather(tree, tiled=True)


def _said(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Mapping[str, str | int]:
  """What arguments and environment say of the job, in jax's words.

  Raises:
    ConfigError: it is incomplete or malformed.
  """
  coordinator = coordinator or os.environ.get('DIFJAX_COORDINATOR') or None
  count = _number('num_processes', num_processes)
  rank = _number('process_id', process_id)
  values = {'coordinator': coordinator, 'num_processes': count,
            'process_id': rank}  # fmt: skip
  missing = [name for name, value in values.items() if value is None]
  if len(missing) == len(values):
    return {}
  if count == 1 and coordinator is None:
    return _ALONE
  if missing:
    given = ', '.join(name for name in values if name not in missing)
    raise errors.ConfigError(
      f'a job needs --coordinator, --num_processes and --process_id; there is '
      f'{given} alone: add --{missing[0]} or DIFJAX_{missing[0].upper()}'
    )
  host, _, port = coordinator.rpartition(':')
  if not (host and port.isdigit()):
    raise errors.ConfigError(
      f'--coordinator={coordinator}: write HOST:PORT of process 0'
    )
  if not 0 <= rank < count:
    raise errors.ConfigError(
      f'--process_id={rank} of --num_processes={count}: they count from 0'
    )
  return {'coordinator_address': coordinator, 'num_processes': count,
          'process_id': rank, 'cluster_detection_method': 'deactivate'}


def _number(name: str, value: int | None) -> int | None:
  variable = f'DIFJAX_{name.upper()}'
  text = os.environ.get(variable, '') if value is None else str(value)
  if not text:
    return None
  try:
    return int(text)
  except ValueError:
    raise errors.ConfigError(
      f'{variable}={text}: give a whole number'
    ) from None
