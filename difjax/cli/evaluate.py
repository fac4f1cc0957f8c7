r"""difjax evaluate: judges images, or a trained model by what a config names.

  difjax evaluate --samples=PATH --reference=PATH --out=DIR
  difjax evaluate --workdir=runs/vp --reference=PATH --num=50000 --out=DIR
  difjax evaluate --workdir=runs/vp --reference=PATH --checkpoints=all --out=DIR
  difjax evaluate --compare A B
  difjax evaluate --workdir=runs/digits --only=bits

images, of any tool or drawn from a run, against a reference:
  --samples=PATH            a folder of images or of folders of them, a .zip, an
                            .npz of ADM or score_sde, what difjax sample made
  --workdir=DIR             of a run, with the flags of difjax sample; --num is
                            50000, --formats is grid, samples are in OUT/samples
  --checkpoints=all         or STEPS: of a run, each in OUT/STEP, and a table
                            and curves of all in OUT
  --reference=PATH          as --samples, or an .npz of statistics of any tool,
                            or a .pkl of EDM2's
  --source.KEY=VALUE        a data set in its place, as --source.type=data.X
  --features.KEY=VALUE      type: interop.Inception (path, convention: one of
                            tensorflow pytorch-fid score-sde clean-fid),
                            interop.Dinov2 (path, convention: dgm-eval edm2),
                            interop.Resnet (path), evaluation.Pixels
  --figures.KEY=VALUE       of evaluation.Figures: overlap, subsets, subset,
                            draws, neighbours, seed; 0 leaves a figure out;
                            limit_entries=2048 for fid_infinity, which is slow
  --save_statistics=FILE    the reference's, as .npz for the next time
  --out=DIR                 for card.json and card.html: the figures with
                            everything that moves them
A card of the same protocol is not made again; after a kill, the same command
goes on.

--compare A B says what differs between two cards (or their folders) first, and
then which is better, where that can be said.

by a config, of a run:
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
from difjax.cli import arguments, scoring


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string('ema', 'main', '', flag_values=values)
  for name in ('only', 'trust'):
    flags.DEFINE_list(name, [], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Evaluates; returns the exit code."""
  asked = {item.split('=', 1)[0].partition('.')[0] for item in argv}
  if '--compare' in asked and not asked & {'--help', '-h'}:
    return scoring.compare(_beside('--compare', argv))
  if '--samples' in asked:
    return scoring.files(argv, __doc__)
  if {'--reference', '--source', '--checkpoints'} & asked:
    return scoring.run(argv, __doc__)
  return _parts(argv)


def _beside(flag: str, argv: list[str]) -> list[str]:
  """Returns the other arguments: --compare=A B and --compare A B alike."""
  return [
    item.removeprefix(f'{flag}=') for item in argv if item != flag
  ]


def _parts(argv: list[str]) -> int:
  """Runs the evaluations that a config names."""
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
