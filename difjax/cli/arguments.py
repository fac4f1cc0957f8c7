"""Flags of the verbs: absl's, with errors of one line and no global state."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from difjax import config as specs
from difjax import errors

Define = Callable[[flags.FlagValues], object]


def parse(
  argv: list[str],
  define: Define,
  about: str,
  configs: dict[str, config_dict.ConfigDict] | None = None,
) -> flags.FlagValues:
  """Parses a verb's flags; --help prints `about` and leaves.

  Args:
    argv: the arguments after the verb.
    define: defines the flags on a FlagValues.
    about: the verb's text for --help, which explains every flag.
    configs: by name, what --NAME.KEY=VALUE overrides; typed by the old value.
      Where that is another `type`, of the part's other arguments stay those
      that the new type has too, and those given here.

  Raises:
    ConfigError: a flag is unknown, missing or malformed.
  """
  if {'--help', '-h'} & set(argv):
    print(about.strip())
    raise SystemExit(0)
  values = flags.FlagValues()
  define(values)
  before = {name: spec.to_dict() for name, spec in (configs or {}).items()}
  try:
    for name, config in (configs or {}).items():
      _make_room(config, name, argv)
      config_flags.DEFINE_config_dict(
        name, config, flag_values=values, sys_argv=['difjax', *argv],
        accept_new_attributes=True, lock_config=False,
      )  # fmt: skip
    rest = values(['difjax', *argv])[1:]
  except KeyError as error:
    raise errors.ConfigError(f'an override names no key: {error}') from error
  except (flags.Error, AttributeError, TypeError, ValueError) as error:
    raise errors.ConfigError(str(error).splitlines()[0]) from error
  if rest:
    raise errors.ConfigError(f'{rest[0]!r} is no flag: write --name=value')
  given = [item[2:].split('=', 1)[0] for item in argv]
  for path in given:
    name, *keys = path.split('.')
    if name in before and keys and keys[-1] == 'type':
      _leave_behind(values[name].value, before[name], path, given)
  return values


def _leave_behind(
  config: config_dict.ConfigDict,
  before: dict[str, Any],
  path: str,
  given: list[str],
) -> None:
  """Drops a replaced part's arguments that its new type does not have.

  Args:
    config: with the overrides.
    before: without them.
    path: of the part's type, after the config's name.
    given: paths of all overrides; what they say stays, right or wrong.
  """
  part, old = config, before
  for key in path.split('.')[1:-1]:
    part, old = part[key], old.get(key)
    if not isinstance(old, dict):
      return
  if old.get('type') in (None, part.type):
    return
  place = path.removesuffix('.type')
  kept = [key for key in old if key != 'type' and not any(
    f'{item}.'.startswith(f'{place}.{key}.') for item in given
  )]  # fmt: skip
  gone = specs.surplus(part.type, kept, path)
  for key in gone:
    del part[key]
  if gone:
    print(
      f'{place}: {part.type} has no {", ".join(gone)}; dropped',
      file=sys.stderr,
    )


def _make_room(
  config: config_dict.ConfigDict, name: str, argv: list[str]
) -> None:
  """Adds the empty parts that overrides reach into, such as --config.mesh.

  Where parts stand in an order, a new one comes last.
  """
  for item in argv:
    if item.startswith(f'--{name}.'):
      part = config
      for key in item.split('=', 1)[0].split('.')[1:-1]:
        if key not in part:
          part[key] = config_dict.ConfigDict()
          if 'order' in part:
            part.order = type(part.order)([*part.order, key])
        part = part[key]
        if not isinstance(part, config_dict.ConfigDict):
          break


def of_run(
  argv: list[str], define: Define, about: str, part: str, *empty: str
) -> tuple[pathlib.Path | None, flags.FlagValues]:
  """Parses the flags of a verb that reads a run.

  Args:
    argv: the arguments after the verb.
    define: defines the flags on a FlagValues.
    about: the verb's text for --help.
    part: of the run's config, which --PART.KEY=VALUE overrides.
    *empty: other names whose --NAME.KEY=VALUE make a config.

  Returns:
    What --workdir=DIR says, if it is given, and the flags.

  Raises:
    ConfigError: a flag is malformed, or the folder holds no run.
  """
  workdir, rest = take(argv, 'workdir')
  folder = None if workdir is None else pathlib.Path(workdir)
  saved = {} if folder is None else specs.load(folder / 'config.json')
  configs = {name: config_dict.ConfigDict() for name in empty}
  configs[part] = config_dict.ConfigDict(saved.get(part, {}))
  return folder, parse(rest, define, about, configs)


def given(
  values: flags.FlagValues, kinds: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
  """Returns the specs that flags have made, by name.

  Args:
    values: the flags.
    kinds: by name, the type of what the flags are arguments of.
  """
  return {
    name: {'type': kind, **values[name].value.to_dict()}
    for name, kind in kinds.items()
    if values[name].value
  }


def new_folder(flag: str, path: str) -> pathlib.Path:
  """Returns where to write.

  Raises:
    ConfigError: there are files already.
  """
  folder = pathlib.Path(path)
  if folder.exists() and any(folder.iterdir()):
    raise errors.ConfigError(f'{folder} is not empty: use another --{flag}')
  return folder


def integers(flag: str, texts: Sequence[str]) -> list[int]:
  """Returns the numbers of a list flag.

  Raises:
    ConfigError: one is no whole number.
  """
  try:
    return [int(text) for text in texts]
  except ValueError:
    raise errors.ConfigError(
      f'--{flag}={",".join(texts)}: give whole numbers'
    ) from None


def take(argv: list[str], name: str) -> tuple[str | None, list[str]]:
  """Takes --name=VALUE or --name VALUE out of the arguments."""
  for i, item in enumerate(argv):
    if item == f'--{name}' and i + 1 < len(argv):
      return argv[i + 1], argv[:i] + argv[i + 2 :]
    if item.startswith(f'--{name}='):
      return item.split('=', 1)[1], argv[:i] + argv[i + 1 :]
  return None, argv


def take_job(
  argv: list[str],
) -> tuple[tuple[str | None, int | None, int | None], list[str]]:
  """Takes what is said of a job of several processes out of the arguments.

  Returns:
    (coordinator, num_processes, process_id), and the other arguments.

  Raises:
    ConfigError: a number is none.
  """
  coordinator, argv = take(argv, 'coordinator')
  numbers = []
  for name in ('num_processes', 'process_id'):
    text, argv = take(argv, name)
    numbers.append(None if text is None else integers(name, [text])[0])
  return (coordinator, *numbers), argv


def config_file(path: str) -> config_dict.ConfigDict:
  """Runs a config file and returns what its `get_config` gives.

  A file on the command line is the user's own code, and may import what lies
  beside it: the folder that holds `configs/` and the current one are searched.

  Raises:
    ConfigError: the file is missing, fails, or has no `get_config`.
  """
  file = pathlib.Path(path).absolute()
  if not file.is_file():
    raise errors.ConfigError(f'the config file {path} is not there')
  roots = [p.parent for p in file.parents if p.name == 'configs']
  for root in [pathlib.Path.cwd(), *roots[-1:]]:
    if str(root) not in sys.path:
      sys.path.insert(0, str(root))
  spec = importlib.util.spec_from_file_location('difjax_config', file)
  if spec is None:
    raise errors.ConfigError(f'{path} is no Python file: a config ends in .py')
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module  # where dataclasses look annotations up
  try:
    spec.loader.exec_module(module)
    config = module.get_config()
  except Exception as error:
    kind = type(error).__name__
    raise errors.ConfigError(f'{path} fails: {kind}: {error}') from error
  if not isinstance(config, config_dict.ConfigDict):
    kind = type(config).__name__
    raise errors.ConfigError(
      f'{path}: get_config returns a {kind}, not a ConfigDict'
    )
  config.unlock()
  return config
