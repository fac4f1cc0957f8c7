r"""difjax sample: writes images of a trained model.

  difjax sample --workdir=runs/digits --out=samples --num=64
  difjax sample ... --labels=3,7 --sampler.grid.steps=40
  difjax sample ... --guidance.workdir=runs/classifier --guidance.scale=2.0
  difjax sample ... --restore.image=photo.png \
      --restore.operator.type=denoising.AveragePool --restore.operator.factor=4

flags:
  --workdir=DIR         of the run
  --out=DIR             a new folder for 000000.png ..., grid.png, samples.npz
  --num=N               how many images (64)
  --seed=N              of the set; image i depends on (seed, i) alone (0)
  --first=N             index of the first image (0)
  --labels=A,B          classes, in turn; all of them by default, and in a
                        restoration none
  --sampler.KEY=VALUE   overrides any argument of the config's sampler
  --guidance.KEY=VALUE  an argument of evaluation.ClassifierGuidance: workdir
                        of a classifier's run, scale, ema, labelled
  --restore.KEY=VALUE   an argument of evaluation.Restoration: image (a file) or
                        source and index; operator, denoising.Window, Grey,
                        AveragePool or evaluation.mask; method
  --ema=NAME            which average of the parameters (main)
  --block=N             images computed at once on a device (64)
  --coupled             allows a sampler whose images depend on those beside
                        them in a block, as the official Langevin rule does
  --trust=PACKAGE       a package that the saved config may use

samples.npz holds arr_0, uint8 [N, H, W, C], and arr_1, int64 labels [N]: the
format that ADM's evaluator reads.
"""

from __future__ import annotations

import pathlib
import types

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments

_LEADS = types.MappingProxyType({  # what their flags are arguments of
  'guidance': {'type': 'evaluation.ClassifierGuidance'},
  'restore': {'type': 'evaluation.Restoration'},
})


def _define(values: flags.FlagValues) -> None:
  for name in ('workdir', 'out'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  for name, default in (('num', 64), ('seed', 0), ('first', 0), ('block', 64)):
    least = 0 if name in ('seed', 'first') else 1
    flags.DEFINE_integer(
      name, default, '', least, 2**31 - 1, flag_values=values
    )
  flags.DEFINE_string('ema', 'main', '', flag_values=values)
  flags.DEFINE_boolean('coupled', False, '', flag_values=values)
  for name in ('labels', 'trust'):
    flags.DEFINE_list(name, [], '', flag_values=values)


def main(argv: list[str]) -> int:
  """Samples; returns the exit code."""
  workdir, rest = arguments.take(argv, 'workdir')
  saved = configs.load(pathlib.Path(workdir, 'config.json')) if workdir else {}
  sampler = config_dict.ConfigDict(saved.get('sampler', {}))
  values = arguments.parse(
    rest, _define, __doc__,
    {'sampler': sampler, **{name: config_dict.ConfigDict() for name in _LEADS}},
  )  # fmt: skip
  if workdir is None or values.out is None:
    raise errors.ConfigError('sample needs --workdir=DIR and --out=DIR')
  out = arguments.new_folder(values.out, 'out')
  labels, trust = arguments.integers(values, 'labels'), tuple(values.trust)
  leads = {name: {**spec, **values[name].value.to_dict()} for name, spec in
           _LEADS.items() if values[name].value}  # fmt: skip

  from difjax.evaluation import controlled, samples, trained  # imports jax

  model = trained.load(
    pathlib.Path(workdir), ema=values.ema, trust=trust, needs='denoiser'
  )
  if 'type' not in values.sampler:
    raise errors.ConfigError(
      f'the config of {workdir} has no sampler: add --sampler.type=...'
    )
  way, *ways = (
    configs.build(spec, path=name, trusted=False, trust=trust)
    for name, spec in [
      ('sampler', values.sampler.to_dict()),
      *((name, leads.get(name)) for name in _LEADS),
    ]
  )
  if not values.coupled:
    samples.check_independent(way)
  led = controlled.lead(model, *ways, labelled=bool(labels), trust=trust)
  samples.write(
    led.model, way, out, num=values.num, first=values.first, seed=values.seed,
    labels=labels, mean=led.mean, size=values.block, picture=led.picture,
  )  # fmt: skip
  print(out)
  return 0
