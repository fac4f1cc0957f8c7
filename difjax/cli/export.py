r"""difjax export: makes files of a trained model that run without difjax.

  difjax export --workdir=runs/digits --out=sampler.difjax
  difjax export --workdir=runs/digits --params=weights.safetensors
  difjax export --workdir=runs/ve --params=ve.safetensors --family=score_sde

flags:
  --workdir=DIR         of the run
  --out=FILE            the sampler and its parameters: StableHLO, safetensors
                        and a card in a zip; needs only `jax` and `flatbuffers`
  --params=FILE         the parameters alone, as safetensors, by our names
  --family=NAME         or by the names of another code: score_sde, edm, adm,
                        dit or sit; the official config comes with them
  --ema=NAME, --step=N  which average (main; empty for the raw parameters) of
                        which checkpoint (the newest)
  --sampler.KEY=VALUE   overrides any argument of the config's sampler
  --block=N             images of a call, as in `difjax sample` (64); there is
                        a program for any number too, but for --noany
  --platforms=A,B       devices that it is to run on (cpu,cuda,tpu)
  --coupled             as in `difjax sample`, as are --autoguidance.KEY,
                        --classifier_free.KEY, --threshold.KEY, --guidance.KEY
                        and --restore.KEY: what leads the model is exported too
  --trust=PACKAGE       a package that the saved config may use

The README has the ten lines that read the sampler. Parameters by our names
become a run again by
`difjax convert --src=FILE --out=DIR --config=CONFIG.py`.
"""

from __future__ import annotations

import os
import pathlib

from absl import flags

from difjax import errors
from difjax.cli import arguments, sample


def _define(values: flags.FlagValues) -> None:
  for name in ('out', 'params', 'family'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_string('ema', 'main', '', flag_values=values)
  flags.DEFINE_integer('step', None, '', 0, flag_values=values)
  flags.DEFINE_integer('block', 64, '', 1, 2**31 - 1, flag_values=values)
  flags.DEFINE_boolean('any', True, '', flag_values=values)
  flags.DEFINE_boolean('coupled', False, '', flag_values=values)
  flags.DEFINE_list('trust', [], '', flag_values=values)
  flags.DEFINE_list('platforms', 'cpu,cuda,tpu', '', flag_values=values)


def main(argv: list[str]) -> int:
  """Exports; returns the exit code."""
  # A program in a file cannot ask Python: diffrax's checks of its arguments
  # are left out, and flags may import it. Solves that fail give NaN all the
  # same.
  os.environ.setdefault('EQX_ON_ERROR', 'off')
  workdir, values = arguments.of_run(
    argv, _define, __doc__, 'sampler', *sample.LEADS
  )
  if workdir is None or not (values.out or values.params):
    raise errors.ConfigError(
      'export needs --workdir=DIR, and --out=FILE or --params=FILE'
    )
  if values.family and not values.params:
    raise errors.ConfigError('--family is of --params=FILE')

  from difjax.evaluation import job  # imports jax, after the flags
  from difjax.export import files

  trust = tuple(values.trust)
  if values.params:
    files.parameters(
      workdir, pathlib.Path(values.params), family=values.family,
      ema=values.ema, step=values.step, trust=trust,
    )  # fmt: skip
    print(values.params)
  if values.out:
    files.sampler(
      workdir, pathlib.Path(values.out),
      job.Wanted(ema=values.ema, step=values.step, size=values.block),
      sampler=values.sampler.to_dict(),
      leads=arguments.given(values, sample.LEADS), general=values.any,
      platforms=values.platforms, coupled=values.coupled, trust=trust,
    )  # fmt: skip
    print(values.out)
  return 0
