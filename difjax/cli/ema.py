"""difjax ema: makes an average of any width of a run's snapshots.

  difjax ema --workdir=runs/edm2 --width=0.075 --out=runs/edm2_0.075

flags:
  --workdir=DIR         of a run with hooks of training.Snapshots and averages
                        of training.PowerFunctionEMA
  --width=W             relative width of the average, between 0 and 0.28
  --out=DIR             a new work directory, whose average `main` it is
  --step=N              the step at which it is wanted (that of the last
                        snapshot)
  --trust=PACKAGE       a package that the saved config may use

`difjax sample`, `evaluate` and `report` take the directory as any other;
`difjax train` starts a run from the average.
"""

from __future__ import annotations

import functools
import pathlib

from absl import flags

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments


def _define(values: flags.FlagValues) -> None:
  for name in ('workdir', 'out'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_float('width', None, '', flag_values=values)
  flags.DEFINE_integer('step', None, '', 1, flag_values=values)
  flags.DEFINE_list('trust', [], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Reconstructs; returns the exit code."""
  values = arguments.parse(argv, _define, __doc__)
  if None in (values.workdir, values.width, values.out):
    raise errors.ConfigError('ema needs --workdir=DIR, --width=W and --out=DIR')
  source, out = pathlib.Path(values.workdir), pathlib.Path(values.out)
  trust = tuple(values.trust)

  from difjax.evaluation import trained  # imports jax: flags are fine
  from difjax.interop import workdir
  from difjax.training import posthoc

  workdir.check_free(out)
  model = trained.load(source, ema='', trust=trust)
  build = functools.partial(configs.build, trusted=False, trust=trust)
  rules = build(model.config.get('ema', {}), path='config.ema')
  params, step = posthoc.reconstruct(
    source, rules, model.params, values.width, values.step,
    model.config.get('checkpoints', {}).get('directory'),
  )
  average = {'type': 'training.PowerFunctionEMA', 'width': values.width}
  origin = {'workdir': str(source), 'step': step, 'width': values.width}
  config = {'optimiser': {'type': 'training.Optimiser'}, **model.config}
  workdir.save(
    out, source, params, {**config, 'ema': {'main': average}},
    configs.load(source / 'data.json'), origin, build=build,
  )  # fmt: skip
  print(out)
  return 0
