"""difjax train: trains a model from a config, or goes on where it stopped.

  difjax train --config=configs/quickstart.py --workdir=runs/digits
  difjax train --config=... --workdir=... --config.data.batch_size=64

flags:
  --config=FILE         the experiment: a Python file with get_config()
  --config.KEY=VALUE    overrides any argument of any part, by its path
  --workdir=DIR         where everything of this run goes

A second start with the same config continues from the newest checkpoint, bit
for bit.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments

# What may change between two starts without making it another run.
_FREE = ('checkpoints', 'hooks', 'log_every', 'report', 'sampler', 'steps')


def main(argv: list[str]) -> int:
  """Trains; returns the exit code."""
  path, argv = arguments.take(argv, 'config')
  values = arguments.parse(
    argv,
    lambda v: flags.DEFINE_string('workdir', None, '', flag_values=v),
    __doc__,
    {'config': arguments.config_file(path)} if path else None,
  )
  if path is None or values.workdir is None:
    raise errors.ConfigError('train needs --config=FILE and --workdir=DIR')
  spec = values.config.to_dict()
  workdir = pathlib.Path(values.workdir)
  _check_same_run(spec, workdir)
  trainer = build(spec)

  from difjax import training  # imports jax: only now is there work for it

  workdir.mkdir(parents=True, exist_ok=True)
  configs.save(spec, workdir / 'config.json')
  training.train(trainer, workdir)
  return 0


def build(spec: dict[str, Any]) -> Any:
  """Builds the Trainer that a whole config describes."""
  apart = ('report', 'sampler')  # of other verbs; built to find mistakes now
  for key in apart:
    configs.build(spec.get(key), path=f'config.{key}')
  rest = {key: value for key, value in spec.items() if key not in apart}
  return configs.build({'type': 'training.Trainer', **rest})


def _check_same_run(spec: dict[str, Any], workdir: pathlib.Path) -> None:
  saved = workdir / 'config.json'
  if not saved.exists():
    if workdir.exists() and any(workdir.iterdir()):
      raise errors.ConfigError(
        f'{workdir} has files but no run of difjax: use another --workdir'
      )
    return
  fixed = lambda data: {k: v for k, v in data.items() if k not in _FREE}
  changed = configs.differences(fixed(configs.load(saved)), fixed(spec))
  begun = [*(workdir / 'checkpoints').glob('[0-9]*')]
  begun += [f for f in workdir.glob('metrics.jsonl') if f.stat().st_size]
  if changed and begun:  # a start that failed at once has nothing to lose
    raise errors.ConfigError(
      f'{workdir} holds a run of another config ({"; ".join(changed[:3])}): '
      'use another --workdir'
    )
