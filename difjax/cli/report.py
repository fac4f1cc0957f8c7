"""difjax report: judges a trained model and writes report.html.

  difjax report --workdir=runs/digits
  difjax report --config=configs/solver_study.py --out=runs/solvers

flags:
  --workdir=DIR         of the run
  --config=FILE         whose report is made, in place of the run's
  --out=DIR             where; the run's folder by default. Some reports, such
                        as evaluation.SolverStudy, need --out but no run
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


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string('out', None, '', flag_values=values)
  flags.DEFINE_list('trust', [], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Writes the report; returns the exit code."""
  workdir, rest = arguments.take(argv, 'workdir')
  path, rest = arguments.take(rest, 'config')
  saved = {}
  if path is not None:
    saved = arguments.config_file(path)
  elif workdir is not None:
    saved = configs.load(pathlib.Path(workdir, 'config.json'))
  spec = config_dict.ConfigDict(saved.get('report', {}))
  values = arguments.parse(rest, _define, __doc__, {'report': spec})
  out = values.out or workdir
  if out is None or not (path or workdir):
    raise errors.ConfigError(
      'report needs --workdir=DIR, or --config=FILE and --out=DIR'
    )

  from difjax.evaluation import trained  # imports jax, after the flags

  trust, model = tuple(values.trust), None
  if workdir is not None:
    model = trained.load(pathlib.Path(workdir), trust=trust, needs='denoiser')
  if 'type' not in values.report:
    raise errors.ConfigError(
      f'the config of {path or workdir} has no report: '
      'see configs/quickstart.py'
    )
  study = configs.build(
    values.report.to_dict(), path='report', trusted=path is not None,
    trust=trust,
  )  # fmt: skip
  if model is None and not getattr(study, 'alone', False):
    raise errors.ConfigError('this report is of a run: add --workdir=DIR')
  print(study.write(model, out))
  return 0
