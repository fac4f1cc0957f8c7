"""difjax report: judges a trained model and writes report.html.

  difjax report --workdir=runs/digits

flags:
  --workdir=DIR         of the run
  --report.KEY=VALUE    overrides any argument of the config's report
  --trust=PACKAGE       a package that the saved config may use

Prints what was found and, last, the report's path.
"""

from __future__ import annotations

import pathlib

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments


def main(argv: list[str]) -> int:
  """Writes the report; returns the exit code."""
  workdir, rest = arguments.take(argv, 'workdir')
  saved = configs.load(pathlib.Path(workdir, 'config.json')) if workdir else {}
  spec = config_dict.ConfigDict(saved.get('report', {}))
  values = arguments.parse(
    rest,
    lambda v: flags.DEFINE_list('trust', [], '', flag_values=v),
    __doc__,
    {'report': spec},
  )
  if workdir is None:
    raise errors.ConfigError('report needs --workdir=DIR')

  from difjax.evaluation import trained  # imports jax, after the flags

  trust = tuple(values.trust)
  model = trained.load(pathlib.Path(workdir), trust=trust, needs='denoiser')
  if 'type' not in values.report:
    raise errors.ConfigError(
      f'the config of {workdir} has no report: see configs/quickstart.py'
    )
  study = configs.build(
    values.report.to_dict(), path='report', trusted=False, trust=trust
  )
  print(study.write(model, workdir))
  return 0
