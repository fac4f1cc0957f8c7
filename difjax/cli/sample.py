r"""difjax sample: writes images of a trained model.

  difjax sample --workdir=runs/digits --out=samples --num=64
  difjax sample ... --num=50000 --block=500 --formats=npz
  difjax sample ... --sampler.grid.steps=40 --classifier_free.scale=2.0
  difjax sample ... --restore.image=photo.png \
      --restore.operator.type=denoising.AveragePool --restore.operator.factor=4

flags:
  --workdir=DIR         of the run
  --out=DIR             a new folder, or one that was left unfinished
  --num=N, --first=N    how many images (64), and the first one's index (0)
  --seed=N              of the set; image i depends on (seed, i) alone (0)
  --labels=A,B          classes, in turn, or FILE.npy of them; all by default,
                        so that a set is balanced, and in a restoration none
  --sampler.KEY=VALUE   overrides any argument of the config's sampler
  --ema=NAME, --step=N  which average (main) of which checkpoint (the newest)
  --block=N             images computed at once on a device (64)
  --quantiser=NAME      edm (nearest), adm, score_sde (truncated), diffusers
  --formats=A,B         png,grid,npz by default; webp edm zip score_sde tar tfds
  --coupled             allows a sampler whose images depend on those beside
                        them in a block, as the official Langevin rule does
  --trust=PACKAGE       a package that the saved config may use

guidance, one or several, applied in this order; difjax.evaluation has more:
  --autoguidance.KEY    workdir of a weaker model's run, scale, interval, ema
  --classifier_free.KEY scale, interval=LOW,HIGH of sigma / alpha, rule
  --threshold.KEY       bound.type=denoising.Clip or denoising.Dynamic
  --guidance.KEY        workdir of a classifier's run, scale, ema, labelled
  --restore.KEY         image (a file) or source and index; method; operator:
                        denoising.Window, Grey, AveragePool, evaluation.mask

DIR/blocks holds what is drawn, block by block. After a kill the same command
draws what is missing, with however many processes and devices, to the same
bytes; another protocol is refused by what differs. On a set that is whole,
other --formats are written of the same images: png and webp are folders of
files for pytorch-fid, npz is samples.npz for ADM's evaluator, zip and edm are
the layouts of EDM, tfds is array_record.

A job of several processes is the same command in each, as in difjax train:
--coordinator=HOST:PORT --num_processes=N --process_id=I where no platform says.
"""

from __future__ import annotations

import pathlib
import types
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from difjax import errors
from difjax.cli import arguments

Draw = Callable[[pathlib.Path, int | None], None]
"""Samples into a folder, of the checkpoint of a step or the newest."""
LEADS = types.MappingProxyType({  # what their flags are arguments of
  'autoguidance': 'evaluation.Autoguidance',
  'classifier_free': 'evaluation.ClassifierFree',
  'threshold': 'evaluation.Threshold',
  'guidance': 'evaluation.ClassifierGuidance',
  'restore': 'evaluation.Restoration',
})


def define(
  values: flags.FlagValues,
  num: int = 64,
  formats: Sequence[str] = ('png', 'grid', 'npz'),
  quantiser: str = 'edm',
) -> None:
  """Defines the flags of all verbs that sample.

  Args:
    values: where.
    num: the default of --num.
    formats: that of --formats.
    quantiser: that of --quantiser.
  """
  for name, default in (('num', num), ('seed', 0), ('first', 0), ('block', 64)):
    least, most = min(default, 1), 2**31 - 1
    flags.DEFINE_integer(name, default, '', least, most, flag_values=values)
  flags.DEFINE_string('out', None, '', flag_values=values)
  flags.DEFINE_string('ema', 'main', '', flag_values=values)
  flags.DEFINE_string('quantiser', quantiser, '', flag_values=values)
  flags.DEFINE_integer('step', None, '', 0, flag_values=values)
  flags.DEFINE_boolean('coupled', False, '', flag_values=values)
  for name in ('labels', 'trust'):
    flags.DEFINE_list(name, [], '', flag_values=values)
  flags.DEFINE_list('formats', [*formats], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Samples; returns the exit code."""
  place, argv = arguments.take_job(argv)
  workdir, values = arguments.of_run(argv, define, __doc__, 'sampler', *LEADS)
  if workdir is None or not values.out:
    raise errors.ConfigError('sample needs --workdir=DIR and --out=DIR')
  draw = drawer(workdir, values)

  from difjax.training import distributed  # imports jax, after the flags

  distributed.initialize(*place)
  draw(pathlib.Path(values.out), values.step)
  if distributed.is_first():
    print(values.out)
  return 0


def drawer(workdir: pathlib.Path, values: flags.FlagValues) -> Draw:
  """Returns what samples into a folder, of a step, as flags say.

  Args:
    workdir: of the run.
    values: the flags of `define`, the sampler's and those of LEADS.

  Raises:
    ConfigError: --labels are none.
  """
  labels = _labels(values.labels)

  def draw(out: pathlib.Path, step: int | None) -> None:
    from difjax.evaluation import job  # imports jax

    wanted = job.Wanted(
      ema=values.ema, step=step, num=values.num, first=values.first,
      seed=values.seed, labels=labels, size=values.block,
      quantiser=values.quantiser,
    )  # fmt: skip
    job.draw(
      workdir, out, wanted, formats=values.formats,
      sampler=values.sampler.to_dict(), leads=arguments.given(values, LEADS),
      coupled=values.coupled, trust=tuple(values.trust),
    )  # fmt: skip

  return draw


def _labels(texts: Sequence[str]) -> list[int]:
  """Returns the classes that a flag lists, or names a file of.

  Raises:
    ConfigError: they are no whole numbers.
  """
  if len(texts) != 1 or not texts[0].endswith('.npy'):
    return arguments.integers('labels', texts)
  try:
    found = np.load(texts[0], allow_pickle=False)
  except (OSError, EOFError, ValueError) as error:
    raise errors.ConfigError(
      f'--labels={texts[0]} cannot be read: {error}'
    ) from None
  if found.ndim != 1 or found.dtype.kind not in 'iu' or not len(found):
    raise errors.ConfigError(
      f'--labels={texts[0]} holds {found.dtype} {found.shape}: give whole '
      'numbers [N]'
    )
  return found.tolist()
