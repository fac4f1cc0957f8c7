"""difjax supervise: runs a command again until it is done.

  difjax supervise -- difjax train --config=... --workdir=runs/digits
  difjax supervise --processes=2 -- difjax train --config=... --workdir=...

flags:
  --processes=N         so many processes of the command on this machine (1);
                        each gets --coordinator, --num_processes, --process_id
  --restarts=R          at most so many after the first start (100)
  --backoff=S           seconds before the first (5); doubled while nothing new
                        is saved
  --stalled=K           give up after K starts in a row that save nothing new
                        (3); the command's --workdir says what is saved
  --grace=S             seconds that processes have to leave after one of them
                        has failed (60)

Starts again on exit code 42 and on 128 and above, which are signals. SIGTERM is
passed on and is the end. Leaves with the last exit code.
"""

from __future__ import annotations

import pathlib

from absl import flags

from difjax import errors, supervisor
from difjax.cli import arguments


def _define(values: flags.FlagValues) -> None:
  default = supervisor.Supervisor()
  for name, least in (('processes', 1), ('restarts', 0), ('stalled', 1)):
    flags.DEFINE_integer(
      name, getattr(default, name), '', least, flag_values=values
    )
  for name in ('backoff', 'grace'):
    flags.DEFINE_float(name, getattr(default, name), '', 0, flag_values=values)


def main(argv: list[str]) -> int:
  """Supervises; returns the last exit code."""
  split = argv.index('--') if '--' in argv else len(argv)
  command = argv[split + 1 :]
  values = arguments.parse(argv[:split], _define, __doc__)
  if not command:
    raise errors.ConfigError('supervise needs -- and a command after it')
  if arguments.take(command, 'resume_step')[0] is not None:
    raise errors.ConfigError(
      'supervise --resume_step would go back at every restart: go back first, '
      'by difjax train'
    )
  workdir, _ = arguments.take(command, 'workdir')
  return supervisor.Supervisor(
    processes=values.processes,
    restarts=values.restarts,
    backoff=values.backoff,
    stalled=values.stalled,
    grace=values.grace,
    workdir=None if workdir is None else pathlib.Path(workdir),
  ).run(command)
