r"""difjax reproduce: an official checkpoint's figures beside its paper's.

  difjax reproduce cifar10/edm_vp --checkpoint=edm-cifar10-32x32-uncond-vp.pkl \
      --reference=cifar10-32x32.npz --out=runs/edm_vp

flags:
  ROW                   a config that states published figures: a file, or its
                        name below configs/ without .py
  --checkpoint=FILE     of any family that difjax convert reads, or a work
                        directory of difjax
  --config=FILE.json    the official constructor's arguments, where the row does
                        not say what the checkpoint lacks
  --reference=PATH      images, or an .npz of statistics; or --source.KEY=VALUE
  --out=DIR             for run (what was converted), samples, card.json and
                        reproduction.txt; the same command goes on after a kill
and the flags of difjax sample and of difjax evaluate. Images, quantiser and
convention are by default as published.

Prints the published figures, ours, what differs in protocol, and whether ours
are within the spread that is stated: where one is, and nothing that is known of
the protocol differs. Whether the reference has the published images is not
checked.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments, convert, sample, scoring

_FOLDER = pathlib.Path(__file__).parents[2] / 'configs'


def main(argv: list[str]) -> int:
  """Reproduces; returns the exit code."""
  place, argv = arguments.take_job(argv)
  row, argv = _row(argv)
  config = {} if row is None else arguments.config_file(str(row)).to_dict()
  stated = config.get('published', {})
  values = _flags(argv, config, stated)
  if row is None or None in (values.checkpoint, values.out):
    raise errors.ConfigError(
      'reproduce needs ROW, --checkpoint=FILE, --reference=PATH and --out=DIR'
    )
  if not stated:
    raise errors.ConfigError(f'{row} states no published figures: see --help')

  from difjax.evaluation import published  # imports jax, after the flags

  paper = dataclasses.replace(
    configs.build(stated, path='config.published'),
    sampler=config.get('sampler'),
  )
  attempt = scoring.begin(place)
  opened = scoring.judge(values, paper.convention)
  out = scoring.folder(values.out)
  workdir = _workdir(values, config, out / 'run')
  sample.drawer(workdir, values)(out / 'samples', values.step)

  def work() -> None:
    text = published.text(paper, scoring.scored(opened(), out))
    (out / 'reproduction.txt').write_text(f'{text}\n')
    print(text)

  return scoring.by_first(out / scoring.ENDED, attempt, work)


def _row(argv: list[str]) -> tuple[pathlib.Path | None, list[str]]:
  """Takes the config's file out of the arguments.

  Raises:
    ConfigError: there is none of that name.
  """
  if not argv or argv[0].startswith('-'):
    return None, argv
  name, *rest = argv
  places = [pathlib.Path(name), pathlib.Path('configs', f'{name}.py')]
  for file in [*places, _FOLDER / f'{name}.py']:
    if file.is_file():
      return file, rest
  raise errors.ConfigError(
    f'there is no row {name!r}: give a config file, or its name below configs/'
  )


def _flags(
  argv: list[str], config: dict[str, Any], stated: dict[str, Any]
) -> flags.FlagValues:
  """Parses the flags, whose defaults are as published."""
  empty = config_dict.ConfigDict
  specs = {name: empty() for name in (*sample.LEADS, *scoring.PARTS)}
  specs['sampler'] = empty(config.get('sampler', {}))
  define = functools.partial(_define, stated=stated)
  return arguments.parse(argv, define, __doc__, specs)


def _define(values: flags.FlagValues, stated: dict[str, Any]) -> None:
  scoring.define(values)
  sample.define(
    values, num=stated.get('count', 50_000), formats=['grid'],
    quantiser=stated.get('quantiser', 'edm'),
  )  # fmt: skip
  for name in ('checkpoint', 'config'):
    flags.DEFINE_string(name, None, '', flag_values=values)


def _workdir(
  values: flags.FlagValues, config: dict[str, Any], out: pathlib.Path
) -> pathlib.Path:
  """Returns the work directory of a checkpoint; makes it where it is none.

  Raises:
    CheckpointError, ConfigError: the checkpoint cannot be converted, or
      another one was, or several processes would have to.
  """
  import jax

  from difjax.interop import imported, workdir

  source = pathlib.Path(values.checkpoint)
  if source.is_dir():
    return source
  if not source.is_file():
    raise errors.ConfigError(f'the checkpoint {source} is not there')
  if out.exists():
    _check_origin(source, out / workdir.ORIGIN)
    return out
  if jax.process_count() > 1:  # of a job, all would have to write a checkpoint
    raise errors.ConfigError(
      f'{out} is not there: start this command as one process, which makes it; '
      'once that samples, several can go on'
    )
  official = {}
  if values.config is not None:
    official = convert.official_arguments(pathlib.Path(values.config))
  found = imported.convert(source, None, official, experiment=config)
  workdir.write(out, source, found, workdir.complete(found, config))
  return out


def _check_origin(source: pathlib.Path, origin: pathlib.Path) -> None:
  """Refuses what was converted of another checkpoint.

  Raises:
    ConfigError: it was.
  """
  with source.open('rb') as stream:
    digest = hashlib.file_digest(stream, 'sha256').hexdigest()
  if configs.load(origin).get('sha256') != digest:
    raise errors.ConfigError(
      f'{origin.parent} is of another checkpoint than {source}: use another '
      '--out'
    )
