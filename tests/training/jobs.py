"""Jobs of several local processes, for tests: started, joined, never left."""

from __future__ import annotations

import os
import pathlib
import random
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
_FIRST = 2**16 - 2**12  # the ports that jax derives from the numbers of jobs


def run(
  argv: list[str],
  count: int,
  devices: int = 1,
  by: str = 'flags',
  seconds: float = 240,
  code: int = 0,
) -> list[str]:
  """Runs a command as a job and returns what each process printed.

  Args:
    argv: of Python.
    count: of processes.
    devices: of each.
    by: what tells a process who it is: 'flags', 'environment', 'slurm' or
      'openmpi'.
    seconds: after which all are killed.
    code: with which all must end.
  """
  port = free_port()
  processes = [
    subprocess.Popen(
      ['timeout', '-k', '5', str(seconds), sys.executable, *argv,
       *(_flags(port, count, i) if by == 'flags' else ())],
      env=_environment(devices) | VARIABLES[by](port, count, i), cwd=ROOT,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    for i in range(count)
  ]  # fmt: skip
  try:
    said = [process.communicate()[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [code] * count, said
  return said


def _environment(devices: int) -> dict[str, str]:
  """That of the suite, without proxies and jobs; it compiles quickly."""
  kept = {
    key: value
    for key, value in os.environ.items()
    if 'proxy' not in key.lower()
    and not key.startswith(('SLURM_', 'OMPI_', 'DIFJAX_'))
  }
  # What hangs says so.
  stuck = 'terminate_timeout_seconds=200'
  return kept | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(devices),
    'PYTHONPATH': str(ROOT),
    'XLA_FLAGS': f'--xla_cpu_collective_call_{stuck}',
  }


def _flags(port: int, count: int, i: int) -> list[str]:
  return [
    f'--coordinator=127.0.0.1:{port}', f'--num_processes={count}',
    f'--process_id={i}',
  ]  # fmt: skip


def _said(port: int, count: int, i: int) -> dict[str, str]:
  return {
    'DIFJAX_COORDINATOR': f'127.0.0.1:{port}',
    'DIFJAX_NUM_PROCESSES': str(count),
    'DIFJAX_PROCESS_ID': str(i),
  }


def _slurm(port: int, count: int, i: int) -> dict[str, str]:
  """What srun sets of it."""
  return {
    'SLURM_JOB_ID': str(port - _FIRST),
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': str(count),
    'SLURM_PROCID': str(i),
    'SLURM_LOCALID': str(i),
  }


def _openmpi(port: int, count: int, i: int) -> dict[str, str]:
  """What mpirun sets of it; numbers of its jobs are multiples of 2^12."""
  job = (port - _FIRST) * 2**12
  return {
    'OMPI_MCA_orte_hnp_uri': f'{job}.0;tcp://127.0.0.1:1',
    'OMPI_COMM_WORLD_SIZE': str(count),
    'OMPI_COMM_WORLD_RANK': str(i),
    'OMPI_COMM_WORLD_LOCAL_RANK': str(i),
  }


VARIABLES = {
  'flags': lambda port, count, i: {},
  'environment': _said,
  'slurm': _slurm,
  'openmpi': _openmpi,
}


def free_port() -> int:
  """Finds one among those that jax derives."""
  for _ in range(100):
    port = random.randrange(_FIRST, 2**16)
    with socket.socket() as probe:
      if probe.connect_ex(('127.0.0.1', port)):
        return port
  raise RuntimeError('no port is free')
