"""What `difjax evaluate` does with images: scores, cards, comparisons."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments, sample

if TYPE_CHECKING:
  from difjax.evaluation import scoring

PARTS = ('features', 'figures', 'source')  # what --PART.KEY=VALUE makes
_NUM = 50_000  # images that figures are published for
_POLL = 1.0  # seconds between two looks for the card of the first process


def define(values: flags.FlagValues) -> None:
  """Defines the flags of what judges images."""
  for name in ('reference', 'save_statistics'):
    flags.DEFINE_string(name, None, '', flag_values=values)


def judge(
  values: flags.FlagValues, convention: str = 'tensorflow'
) -> scoring.Judge:
  """Loads what images are judged by, as flags say.

  Args:
    values: the flags of `define` and PARTS.
    convention: of Inception, where flags do not say it.

  Raises:
    ConfigError: a spec does not build, or there is no reference, or are two.
    DataError: the reference, or the network's file, is not there.
  """
  if bool(values.reference) == bool(values.source):
    raise errors.ConfigError(
      'give one reference: --reference=PATH of images or statistics, or '
      '--source.type=data.X of a data set'
    )

  from difjax.evaluation import references, scoring  # imports jax
  from difjax.interop import edm2_reference

  network = _built(
    'features', values, type='interop.Inception', convention=convention
  )
  how = _built('figures', values, type='evaluation.Figures')
  path = values.reference
  if path and path.endswith(edm2_reference.SUFFIX):
    reference = references.of_networks(path, edm2_reference.read(path))
  elif path:
    reference = references.read(path)
  else:
    reference = references.of_source(_built('source', values))
  return scoring.judge(network, reference, how, values.save_statistics)


def files(argv: list[str], about: str) -> int:
  """Scores images of any tool: `--samples=PATH`."""
  values = arguments.parse(
    argv, _define_files, about,
    {name: config_dict.ConfigDict() for name in PARTS},
  )  # fmt: skip

  from difjax.evaluation import card, image_set, scoring  # imports jax

  samples = image_set.read(values.samples)
  by = judge(values)
  out = None if values.out is None else pathlib.Path(values.out)
  print(card.table(scoring.score(by, samples, out)))
  if out is not None:
    print(out / card.PAGE)
  return 0


def run(argv: list[str], about: str) -> int:
  """Samples a run and scores it: `--workdir=DIR`, perhaps `--checkpoints`."""
  place, argv = arguments.take_job(argv)
  workdir, values = arguments.of_run(
    argv, _define_run, about, 'sampler', *sample.LEADS, *PARTS
  )
  if workdir is None or values.out is None:
    raise errors.ConfigError('evaluate needs --workdir=DIR and --out=DIR')
  draw, out = sample.drawer(workdir, values), pathlib.Path(values.out)

  from difjax.evaluation import card, step_sweep  # imports jax
  from difjax.training import distributed

  distributed.initialize(*place)
  by = judge(values) if distributed.is_first() else None
  if not values.checkpoints:
    found = scored(draw, by, out, values.step)
    if by is not None:
      print(card.table(found))
      print(out / card.PAGE)
    return 0
  cards = {
    step: scored(draw, by, out / f'{step:08d}', step)
    for step in _steps(workdir, values.checkpoints)
  }
  if by is not None:
    print(step_sweep.write(out, cards))
    print(out / step_sweep.PAGE)
  return 0


def compare(argv: list[str]) -> int:
  """Says what differs between two cards, and then which is better."""
  if len(argv) != 2 or argv[0].startswith('-') or argv[1].startswith('-'):
    raise errors.ConfigError(
      'evaluate --compare needs two cards or their folders: --compare A B'
    )

  from difjax.evaluation import card
  from difjax.evaluation import compare as comparing  # imports jax

  a, b = map(card.read, argv)
  print(comparing.text(a, b, (argv[0], argv[1])))
  return 0


def _define_files(values: flags.FlagValues) -> None:
  define(values)
  for name in ('samples', 'out'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_list('trust', [], '', flag_values=values)


def _define_run(values: flags.FlagValues) -> None:
  define(values)
  sample.define(values, num=_NUM, formats=['grid'])
  flags.DEFINE_list('checkpoints', [], '', flag_values=values)


def _built(name: str, values: flags.FlagValues, **default: str) -> Any:
  """Builds the part of a name, on a default unless flags say another type."""
  spec = values[name].value.to_dict()
  if spec.get('type', default.get('type')) == default.get('type'):
    spec = {**default, **spec}
  return configs.build(
    spec, path=name, trusted=False, trust=tuple(values.trust)
  )


def _steps(workdir: pathlib.Path, asked: list[str]) -> list[int]:
  """Returns which checkpoints are swept.

  Raises:
    ConfigError: one is not there.
  """
  from difjax.evaluation import trained  # imports jax

  known = trained.steps(workdir)
  if asked == ['all']:
    return known
  steps = arguments.integers('checkpoints', asked)
  missing = [step for step in steps if step not in known]
  if missing:
    raise errors.ConfigError(
      f'{workdir} has no checkpoint of step {missing[0]}; there are: '
      f'{", ".join(map(str, known))}'
    )
  return steps


def scored(
  draw: sample.Draw,
  by: scoring.Judge | None,
  out: pathlib.Path,
  step: int | None,
) -> Mapping[str, Any]:
  """Samples into OUT/samples and writes a card; the others wait for the first.

  Args:
    draw: what samples.
    by: what judges; None in processes but the first.
    out: the folder.
    step: of the checkpoint; None for the newest.

  Returns:
    The card.
  """
  draw(out / 'samples', step)

  from difjax.evaluation import card, image_set, scoring

  if by is None:
    while not (out / card.FILE).exists():
      time.sleep(_POLL)
    return card.read(out)
  return scoring.score(by, image_set.read(out / 'samples'), out)
