r"""difjax sample: writes images of a trained model.

  difjax sample --workdir=runs/digits --out=samples --num=64
  difjax sample ... --sampler.grid.steps=40 --classifier_free.scale=2.0
  difjax sample ... --restore.image=photo.png \
      --restore.operator.type=denoising.AveragePool --restore.operator.factor=4

flags:
  --workdir=DIR         of the run
  --out=DIR             a new folder for 000000.png ..., grid.png, samples.npz
  --num=N, --first=N    how many images (64), and the first one's index (0)
  --seed=N              of the set; image i depends on (seed, i) alone (0)
  --labels=A,B          classes, in turn; all of them by default, and in a
                        restoration none
  --sampler.KEY=VALUE   overrides any argument of the config's sampler
  --ema=NAME            which average of the parameters (main)
  --block=N             images computed at once on a device (64)
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

samples.npz holds arr_0, uint8 [N, H, W, C], and arr_1, int64 labels [N]: the
format that ADM's evaluator reads.
"""

from __future__ import annotations

import types

from absl import flags

from difjax import errors
from difjax.cli import arguments

LEADS = types.MappingProxyType({  # what their flags are arguments of
  'autoguidance': 'evaluation.Autoguidance',
  'classifier_free': 'evaluation.ClassifierFree',
  'threshold': 'evaluation.Threshold',
  'guidance': 'evaluation.ClassifierGuidance',
  'restore': 'evaluation.Restoration',
})


def _define(values: flags.FlagValues) -> None:
  for name, default in (('num', 64), ('seed', 0), ('first', 0), ('block', 64)):
    least, most = min(default, 1), 2**31 - 1
    flags.DEFINE_integer(name, default, '', least, most, flag_values=values)
  flags.DEFINE_string('out', None, '', flag_values=values)
  flags.DEFINE_string('ema', 'main', '', flag_values=values)
  flags.DEFINE_boolean('coupled', False, '', flag_values=values)
  for name in ('labels', 'trust'):
    flags.DEFINE_list(name, [], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Samples; returns the exit code."""
  workdir, values = arguments.of_run(argv, _define, __doc__, 'sampler', *LEADS)
  if workdir is None or values.out is None:
    raise errors.ConfigError('sample needs --workdir=DIR and --out=DIR')
  out = arguments.new_folder('out', values.out)
  labels = arguments.integers('labels', values.labels)

  from difjax.evaluation import job  # imports jax, after the flags

  job.draw(
    workdir, out, sampler=values.sampler.to_dict(),
    leads=arguments.given(values, LEADS), ema=values.ema, num=values.num,
    first=values.first, seed=values.seed, labels=labels, size=values.block,
    coupled=values.coupled, trust=tuple(values.trust),
  )  # fmt: skip
  print(out)
  return 0
