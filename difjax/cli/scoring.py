"""What `difjax evaluate` does with images: scores, cards, comparisons."""

from __future__ import annotations

import pathlib
import secrets
import sys
import time
from collections.abc import Callable
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
_POLL = 0.5  # seconds between two looks for the end of the first process
ENDED = '.scored'  # where the first process says how scoring went


def define(values: flags.FlagValues) -> None:
  """Defines the flags of what judges images."""
  for name in ('reference', 'save_statistics'):
    flags.DEFINE_string(name, None, '', flag_values=values)


def judge(
  values: flags.FlagValues, convention: str = 'tensorflow'
) -> Callable[[], scoring.Judge]:
  """Checks what images are judged by, as flags say, and loads the network.

  Every process of a job calls it before it samples, and all are refused alike.
  Every pixel of a reference is read by what comes back, by the first process
  once all have sampled: the others would not wait for so long.

  Args:
    values: the flags of `define` and PARTS.
    convention: of Inception, where flags do not say it.

  Returns:
    What opens the reference and gives the judge.

  Raises:
    ConfigError: a spec does not build, there is no reference, or are two, or
      --save_statistics names what cannot be written.
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
  path, save = values.reference, values.save_statistics
  source = None if path else _built('source', values)
  if path:
    scoring.check_reference(path, edm2_reference.SUFFIX)
  if save is not None:
    scoring.check_save(save)
  net = network.load()

  def opened() -> scoring.Judge:
    if source is not None:
      reference = references.of_source(source)
    elif path.endswith(edm2_reference.SUFFIX):
      reference = references.of_networks(path, edm2_reference.read(path))
    else:
      reference = references.read(path)
    if save is not None:
      reference = scoring.saved(save, reference, net)
    return scoring.Judge(net=net, reference=reference, how=how)

  return opened


def files(argv: list[str], about: str) -> int:
  """Scores images of any tool: `--samples=PATH`."""
  values = arguments.parse(
    argv, _define_files, about,
    {name: config_dict.ConfigDict() for name in PARTS},
  )  # fmt: skip

  from difjax.evaluation import card, image_set, scoring  # imports jax

  samples = image_set.read(values.samples)
  opened = judge(values)
  out = None if values.out is None else folder(values.out)
  print(card.table(scoring.score(opened(), samples, out)))
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
  if values.checkpoints and values.step is not None:
    raise errors.ConfigError(
      '--checkpoints says which steps are sampled: leave --step out'
    )
  draw = sample.drawer(workdir, values)

  from difjax.evaluation import card, step_sweep  # imports jax

  attempt = begin(place)
  opened = judge(values)
  steps = _steps(workdir, values.checkpoints) if values.checkpoints else []
  out = folder(values.out)
  # All are sampled before one is scored: the first process alone can fail then.
  places = {step: out / f'{step:08d}' for step in steps} or {values.step: out}
  for step, place in places.items():
    draw(place / 'samples', step)

  def work() -> None:
    by = opened()
    cards = {step: scored(by, place) for step, place in places.items()}
    if steps:
      print(step_sweep.write(out, cards))
      print(out / step_sweep.PAGE)
    else:
      print(card.table(cards[values.step]))
      print(out / card.PAGE)

  return by_first(out / ENDED, attempt, work)


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


def scored(by: scoring.Judge, out: pathlib.Path) -> dict[str, Any]:
  """Scores what was sampled into OUT/samples, and returns the card."""
  from difjax.evaluation import image_set, scoring

  return scoring.score(by, image_set.read(out / 'samples'), out)


def folder(path: str) -> pathlib.Path:
  """Makes the folder of what comes out, before anything is computed.

  Raises:
    ConfigError: the path is empty.
    OSError: it cannot be made.
  """
  if not path:
    raise errors.ConfigError('--out= is empty: give a folder')
  out = pathlib.Path(path)
  out.mkdir(parents=True, exist_ok=True)
  return out


def begin(place: tuple[str | None, int | None, int | None]) -> int:
  """Joins a job while all of its processes are here.

  Args:
    place: as `arguments.take_job` gives it.

  Returns:
    A number of this attempt, the same in every process.
  """
  from difjax.training import distributed  # imports jax

  distributed.initialize(*place)
  # This finds the devices of all, for which some platforms wait 30 s at most.
  return distributed.from_first(secrets.randbits(31))


def by_first(
  end: pathlib.Path, attempt: int, work: Callable[[], object]
) -> int:
  """Has the first process do what is left, while the others wait for its end.

  They look for a file instead of meeting at a barrier, for which some platforms
  wait 30 s at most, and leave together: jax takes a process that left before
  the others for lost.

  Args:
    end: where the first process says how it went, if there are several.
    attempt: what `begin` gave; what earlier attempts said is passed over.
    work: what it does; what it raises passes, in the first process.

  Returns:
    The exit code: in the others that of the first.
  """
  import jax

  from difjax.evaluation import plots

  if jax.process_index():
    return _code(end, attempt)
  code = 1  # of what is no error of ours
  try:
    work()
    code = 0
  except errors.DifjaxError as error:
    code = error.exit_code
    raise
  finally:
    if jax.process_count() > 1:
      plots.write(end, f'{attempt} {code}'.encode())
  return code


def _code(end: pathlib.Path, attempt: int) -> int:
  """Waits until the first process has said how it went; returns its code."""
  said = []
  while said[:1] != [str(attempt)]:
    time.sleep(_POLL)
    said = end.read_text().split() if end.exists() else []
  code = int(said[1])
  if code:
    print('this process ends with process 0, which says why', file=sys.stderr)
  return code
