"""Trains on a disk that fills up: run by `checkpoint_test.py` on its own.

  python full_disk.py FOLDER
"""

import json
import pathlib
import resource
import sys

from difjax import __main__
from difjax.training import writers
from tests import tiny

FOLDER = pathlib.Path(sys.argv[1])
FILLING = """
from tests import tiny_mean_config

def get_config():
  config = tiny_mean_config.get_config()
  config.hooks = [dict(type='tests.tiny.FillDisk')]
  return config
"""


def train(steps, config='tests/tiny_mean_config.py'):
  """Returns the exit code and the steps that have metrics."""
  code = __main__.main([
    'train', f'--config={config}', f'--workdir={FOLDER}/run',
    f'--config.steps={steps}',
  ])  # fmt: skip
  return code, [row['step'] for row in writers.read_metrics(FOLDER / 'run')]


def empty():
  """Makes room again."""
  (FOLDER / 'filler').unlink(missing_ok=True)
  hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
  resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def main():
  """Fills the disk by a hook, then between two starts."""
  filling = FOLDER / 'filling.py'
  filling.write_text(FILLING)
  found = [train(2)]
  print('FILLED', file=sys.stderr, flush=True)
  found.append(train(6, filling))
  print('EMPTIED', file=sys.stderr, flush=True)
  empty()
  found.append(train(6))
  print('FILLED', file=sys.stderr, flush=True)
  tiny.fill(FOLDER)
  found.append(train(9))
  print('EMPTIED', file=sys.stderr, flush=True)
  empty()
  print(json.dumps([*found, train(9)]))


main()
