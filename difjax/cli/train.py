"""difjax train: trains a model from a config, or goes on where it stopped.

  difjax train --config=configs/quickstart.py --workdir=runs/digits
  difjax train --config=... --workdir=... --config.data.batch_size=64
  difjax train --workdir=runs/digits

flags:
  --config=FILE         the experiment: a Python file with get_config(); that
                        of the work directory if left out
  --config.KEY=VALUE    overrides any argument of any part, by its path
  --workdir=DIR         where everything of this run goes; where processes see
                        no folder in common, each its own, and checkpoints in
                        --config.checkpoints.directory=gs://BUCKET/RUN
  --resume_step=N       goes on from the checkpoint of step N; later ones are
                        moved aside to STEP.rolled_back: say it once
  --trust=PACKAGE       a package that a work directory's config may use

of a job of several processes, where no platform says it (Cloud TPU, Slurm,
Open MPI, Kubernetes do), here or as DIFJAX_COORDINATOR and so on:
  --coordinator=HOST:PORT  of process 0
  --num_processes=N     that the job has
  --process_id=I        of this one, from 0

A second start with the same config continues from the newest checkpoint, bit
for bit. What `difjax convert` made is fine-tuned: its config lacks data alone.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import environment, errors
from difjax.cli import arguments

# What other verbs read.
_APART = ('evaluation', 'plan', 'published', 'report', 'sampler')
# Paths that may change between two starts without making it another run.
_FREE = (
  'checkpoints', 'data.prefetch', 'data.source.path', 'data.threads',
  'data.workers', 'hooks', 'log_every', 'max_streak', 'mesh',
  'optimiser.accumulate', 'optimiser.schedule', 'patience', 'profile', 'rules',
  'spike', 'steps', 'tensorboard', 'wandb', *_APART,
)  # fmt: skip


def main(argv: list[str]) -> int:
  """Trains; returns the exit code."""
  path, argv = arguments.take(argv, 'config')
  place, argv = arguments.take(argv, 'workdir')
  job, argv = arguments.take_job(argv)
  config = _config(path, place)
  values = arguments.parse(
    argv, _define, __doc__, {'config': config} if config is not None else None
  )
  if config is None or place is None:
    raise errors.ConfigError('train needs --config=FILE and --workdir=DIR')
  if '://' in place:
    raise errors.ConfigError(
      f'--workdir={place}: it is a folder; checkpoints alone may lie there, by '
      f'--config.checkpoints.directory={place}'
    )
  spec = values.config.to_dict()
  workdir = pathlib.Path(place)
  if 'data' not in spec:
    raise errors.ConfigError(
      'config.data is missing: add --config.data.type=data.Pipeline '
      '--config.data.source.type=... --config.data.batch_size=...'
    )
  _check_same_run(spec, workdir)

  from difjax import training  # imports jax: only now is there work for it
  from difjax.training import distributed, lock

  distributed.initialize(*job)
  trainer = build(spec, trusted=path is not None, trust=tuple(values.trust))
  _check_images(trainer.data.shape, workdir)
  lock.check_free(workdir)
  distributed.barrier('every process has seen the work directory as it was')
  if distributed.is_first():
    _note(spec, workdir)
  distributed.barrier('process 0 has written the config')
  if not (workdir / 'config.json').exists():  # a work directory of its own
    _note(spec, workdir)
  training.train(
    trainer, workdir, values.resume_step, began=environment.began()
  )
  return 0


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_list('trust', [], '', flag_values=values)
  flags.DEFINE_integer('resume_step', None, '', 0, flag_values=values)


def _note(spec: dict[str, Any], workdir: pathlib.Path) -> None:
  workdir.mkdir(parents=True, exist_ok=True)
  configs.save(spec, workdir / 'config.json')


def build(
  spec: dict[str, Any], *, trusted: bool = True, trust: tuple[str, ...] = ()
) -> Any:
  """Builds the Trainer that a whole config describes."""
  make = functools.partial(configs.build, trusted=trusted, trust=trust)
  for key in _APART:  # to find mistakes now
    make(spec.get(key), path=f'config.{key}')
  rest = {key: value for key, value in spec.items() if key not in _APART}
  return make({'type': 'training.Trainer', **rest})


def _config(
  path: str | None, workdir: str | None
) -> config_dict.ConfigDict | None:
  """Reads the config file, or what the work directory has."""
  if path is not None:
    return arguments.config_file(path)
  saved = pathlib.Path(workdir or '.', 'config.json')
  if workdir is None or not saved.exists():
    return None
  return config_dict.ConfigDict(configs.load(saved))


def _check_images(shape: tuple[int, ...], workdir: pathlib.Path) -> None:
  """Refuses data of another shape than those of the run."""
  card = workdir / 'data.json'
  known = configs.load(card)['shape'] if card.exists() else shape
  if list(known) != list(shape):
    raise errors.ConfigError(
      f'config.data: images are {list(shape)}, those of {workdir} '
      f'{list(known)}: crop or resize them'
    )


def _check_same_run(spec: dict[str, Any], workdir: pathlib.Path) -> None:
  saved = workdir / 'config.json'
  if not saved.exists():
    if workdir.exists() and any(workdir.iterdir()):
      raise errors.ConfigError(
        f'{workdir} has files but no run of difjax: use another --workdir'
      )
    return
  old = configs.load(saved)
  changed = [
    line for line in configs.differences(old, spec) if not _free(line)
  ]
  # Step 0 is what `difjax convert` made: nothing was trained here yet.
  begun = [*(workdir / 'checkpoints').glob('[1-9]*')]
  begun += [f for f in workdir.glob('metrics.jsonl') if f.stat().st_size]
  if changed and begun:  # a start that failed at once has nothing to lose
    raise errors.ConfigError(
      f'{workdir} holds a run of another config ({"; ".join(changed[:3])}): '
      'use another --workdir'
    )


def _free(difference: str) -> bool:
  path = difference.partition(': ')[0].removeprefix('config.')
  return any(f'{path}.'.startswith(f'{free}.') for free in _FREE)
