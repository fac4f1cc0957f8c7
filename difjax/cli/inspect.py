"""difjax data inspect: measures a data set and proposes a process's settings.

  difjax data inspect --source.type=data.ImageFolder --source.path=IMAGES
  difjax data inspect --config=configs/quickstart.py --out=runs/inspected

flags:
  --source.KEY=VALUE    the data set: its type and arguments
  --config=FILE         or that of an experiment
  --config.KEY=VALUE    overrides any argument of it, by its path
  --images=N            how many are read (10,000), drawn at random where there
                        are more
  --seed=S              of those draws (0)
  --json=FILE           writes the figures there
  --out=DIR             writes pictures there: images.png, levels.png and
                        distances.png

Prints a table of what was measured, and settings with the rule and the paper
that each follows from. Nothing is changed: they are for you to take over.
"""

from __future__ import annotations

import json
import pathlib

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments


def _define(values: flags.FlagValues) -> None:
  for name in ('json', 'out'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_integer('images', 10_000, '', 1, flag_values=values)
  flags.DEFINE_integer('seed', 0, '', 0, flag_values=values)


def main(argv: list[str]) -> int:
  """Measures; returns the exit code."""
  path, rest = arguments.take(argv, 'config')
  spec = {'source': config_dict.ConfigDict()}
  if path is not None:
    spec['config'] = arguments.config_file(path)
  values = arguments.parse(rest, _define, __doc__, spec)
  source, where = values.source.to_dict(), 'source'
  if path is not None:
    source = values.config.to_dict().get('data', {}).get('source', source)
    where = 'config.data.source'
  if 'type' not in source:
    raise errors.ConfigError(
      'inspect needs a data set: --source.type=data.ImageFolder '
      '--source.path=IMAGES, or --config=FILE of an experiment with one'
    )
  built = configs.build(source, path=where)

  from difjax.evaluation import inspected, inspected_page, plots

  found = inspected.measure(built, values.images, values.seed)
  print(inspected_page.text(found))
  if values.json:
    content = json.dumps(inspected_page.as_dict(found), indent=2) + '\n'
    plots.write(values.json, content.encode())
  if values.out:
    folder = pathlib.Path(values.out)
    for name, png in inspected_page.pictures(found, built).items():
      plots.write(folder / f'{name}.png', png)
  return 0
