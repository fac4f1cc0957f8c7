"""difjax convert: makes a work directory of another project's checkpoint.

  difjax convert --src=checkpoint_26.pth --out=runs/ve --family=score_sde
  difjax convert ... --config=configs/cifar10/ncsnpp_ve.py

flags:
  --src=FILE            the checkpoint: of torch.save, safetensors, Flax, pickle
  --out=DIR             a new work directory
  --family=NAME         whose checkpoint it is; told by the file if left out
  --config=FILE         what the file lacks: a config of difjax (.py), or the
                        official constructor's arguments (.json)
  --config.KEY=VALUE    overrides any part of a config of difjax
  --arch.KEY=VALUE      an argument of the official constructor, with dots
  --noema               the last weights instead of their average

Of official arguments those of the network, the SDE and the images are read, not
those of training and sampling, but for ADM's losses, timestep_respacing,
sigma_small and use_ddim. `difjax sample` and `difjax train` take the
directory as any other; training needs --config.data. Of models of latents no
images can be made here: `difjax.interop.load` takes those files. Nothing in a
checkpoint is run.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments


def _define(values: flags.FlagValues) -> None:
  for name in ('src', 'out', 'family'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_boolean('ema', True, '', flag_values=values)


def main(argv: list[str]) -> int:
  """Converts; returns the exit code."""
  path, rest = arguments.take(argv, 'config')
  given = {'arch': config_dict.ConfigDict()}
  official: dict[str, Any] = {}
  if path is not None and pathlib.Path(path).suffix == '.json':
    official = official_arguments(pathlib.Path(path))
  elif path is not None:
    given['config'] = arguments.config_file(path)
  values = arguments.parse(rest, _define, __doc__, given)
  if values.src is None or values.out is None:
    raise errors.ConfigError('convert needs --src=FILE and --out=DIR')
  ours = values.config.to_dict() if 'config' in given else {}
  if ours and set(values.arch) - {'data'}:
    raise errors.ConfigError(
      'convert takes the network from --config=FILE.py or from --arch, not '
      'both: override the former with --config.KEY=VALUE'
    )

  from difjax.interop import imported, workdir  # imports jax: flags are fine

  source, out = pathlib.Path(values.src), pathlib.Path(values.out)
  workdir.check_free(out)
  found = imported.convert(
    source, values.family, imported.merged(official, values.arch.to_dict()),
    ema=values.ema, experiment=ours,
  )  # fmt: skip
  workdir.write(out, source, found, workdir.complete(found, ours))
  print(out)
  return 0


def official_arguments(file: pathlib.Path) -> dict[str, Any]:
  """Reads constructor arguments, within {"config": ...} or not.

  Raises:
    ConfigError: the file is not there, or no JSON object.
  """
  if not file.is_file():
    raise errors.ConfigError(f'the config file {file} is not there')
  data = configs.load(file)
  while isinstance(data.get('config'), dict):
    data = data['config']
  return data
