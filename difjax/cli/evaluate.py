r"""difjax evaluate: judges a trained model by the figures that a config names.

  difjax evaluate --workdir=runs/digits
  difjax evaluate --workdir=... --evaluation.bits.images=500
  difjax evaluate --workdir=... --only=bits \
      --evaluation.bits.type=evaluation.Likelihood \
      --evaluation.bits.source.type=data.Digits \
      --evaluation.bits.source.split=test

flags:
  --workdir=DIR             of the run
  --evaluation.PART.KEY=VALUE  overrides any argument of the config's
                            evaluations, or adds one
  --only=A,B                which parts, in this order; all by default
  --ema=NAME                which average of the parameters (main)
  --trust=PACKAGE           a package that the saved config may use

Prints a table for each part, and writes into DIR/evaluation: PART.json (its
figures), PART.npz (its numbers for each image), PART_NAME.png (pictures).
"""

from __future__ import annotations

import pathlib

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string('ema', 'main', '', flag_values=values)
  for name in ('only', 'trust'):
    flags.DEFINE_list(name, [], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Evaluates; returns the exit code."""
  workdir, rest = arguments.take(argv, 'workdir')
  saved = configs.load(pathlib.Path(workdir, 'config.json')) if workdir else {}
  spec = config_dict.ConfigDict(saved.get('evaluation', {}))
  values = arguments.parse(rest, _define, __doc__, {'evaluation': spec})
  if workdir is None:
    raise errors.ConfigError('evaluate needs --workdir=DIR')
  parts = values.evaluation.to_dict()
  known = sorted(set(parts) - {'order'})
  order = values.only or parts.get('order', known)
  for name in order or [None]:
    if name not in known:
      asked = '' if name is None else f' {name!r}'
      raise errors.ConfigError(
        f'{workdir} has no evaluation{asked}; there are: '
        f'{", ".join(known) or "none"}; add one, such as '
        '--evaluation.bits.type=evaluation.Likelihood '
        '--evaluation.bits.source.type=data.Digits'
      )

  from difjax.evaluation import parts as judges
  from difjax.evaluation import trained  # imports jax, after the flags

  trust = tuple(values.trust)
  built = {
    name: configs.build(
      parts[name], path=f'evaluation.{name}', trusted=False, trust=trust
    )
    for name in order
  }
  folder = pathlib.Path(workdir)
  model = trained.load(folder, ema=values.ema, trust=trust, needs='denoiser')
  judges.write(built, model, folder / 'evaluation')
  return 0
