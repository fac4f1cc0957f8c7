"""From a config to the objects it describes, without a switch.

A config is a tree of plain data. A mapping with one of these keys is a
specification; its other keys are keyword arguments:

  dict(type='processes.VP', beta_max=20.)       the object that the call gives
  dict(partial='networks.DiTBlock', heads=4)    a factory: call it for a new one
  dict(ref='flax.linen.silu')                   the object of that name itself
  dict(flip=dict(type=...), crop=dict(type=...), order=('flip', 'crop'))
                                                a tuple, in the named order

Names are relative to difjax (`processes.VP` is `difjax.processes.VP`) or
absolute (`mylab.processes.Cubic`). The exports of difjax's packages are the
only registry. Arguments are checked against the signature, so that a typo is
one line with the path of the offending key.

A config that comes with a work directory is data from a stranger:
`build(spec, trusted=False)` resolves exported names of difjax's packages and
the few foreign names of `FOREIGN`, and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import json
import pathlib
import pkgutil
import secrets
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from difjax import errors

FOREIGN = frozenset({
  'flax.linen.elu', 'flax.linen.gelu', 'flax.linen.leaky_relu',
  'flax.linen.relu', 'flax.linen.silu', 'flax.linen.swish',
  'jax.checkpoint_policies.dots_with_no_batch_dims_saveable',
  'jax.nn.gelu', 'jax.nn.relu', 'jax.nn.silu',
  'jax.numpy.bfloat16', 'jax.numpy.float16', 'jax.numpy.float32',
  'optax.constant_schedule', 'optax.cosine_decay_schedule',
  'optax.exponential_decay', 'optax.linear_schedule',
  'optax.scale_by_adam', 'optax.scale_by_lion', 'optax.scale_by_radam',
  'optax.scale_by_rms', 'optax.trace', 'optax.warmup_constant_schedule',
  'optax.warmup_cosine_decay_schedule',
})  # fmt: skip
_KEYS = ('type', 'partial', 'ref')
_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Partial:
  """A factory with some arguments fixed: hashable and equal by value."""

  target: Callable[..., Any]
  arguments: tuple[tuple[str, Any], ...] = ()

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Calls the target; later arguments win over the fixed ones."""
    return self.target(*args, **{**dict(self.arguments), **kwargs})


def build(
  spec: Any,
  *,
  path: str = 'config',
  trusted: bool = True,
  trust: tuple[str, ...] = (),
) -> Any:
  """Builds what a specification describes.

  Args:
    spec: plain data, a mapping, a list or a `ml_collections.ConfigDict`.
    path: where `spec` stands in the config, for error messages.
    trusted: whether any importable name may be used.
    trust: packages that may be used though `trusted` is False.

  Returns:
    The object; mappings without a special key become dicts, lists tuples.

  Raises:
    ConfigError: an unknown name, a wrong key or a wrong type, with its path.
  """
  spec = spec.to_dict() if hasattr(spec, 'to_dict') else spec

  def recurse(child: Any, key: object) -> Any:
    return build(child, path=f'{path}.{key}', trusted=trusted, trust=trust)

  if isinstance(spec, list | tuple):
    return tuple(recurse(child, i) for i, child in enumerate(spec))
  if not isinstance(spec, Mapping):
    return spec
  special = [key for key in _KEYS if key in spec]
  if not special and 'order' in spec:
    return _ordered(spec, recurse, path)
  arguments = {k: recurse(v, k) for k, v in spec.items() if k not in _KEYS}
  if not special:
    return arguments
  if len(special) > 1:
    raise errors.ConfigError(
      f'{path} has both {special[0]!r} and {special[1]!r}: keep one'
    )
  (key,) = special
  name, place = spec[key], f'{path}.{key}'
  target = resolve(name, path=place, trusted=trusted, trust=trust)
  if key == 'ref':
    if arguments:
      raise errors.ConfigError(
        f'{path}: a ref takes no arguments, but {sorted(arguments)} are given'
      )
    return target
  _check_arguments(target, arguments, path, complete=key == 'type')
  if key == 'partial':
    return Partial(target, tuple(sorted(arguments.items())))
  try:
    return target(**arguments)
  except (TypeError, ValueError) as error:
    raise errors.ConfigError(f'{path} ({name}): {error}') from error


def resolve(
  name: str,
  *,
  path: str = 'config',
  trusted: bool = True,
  trust: tuple[str, ...] = (),
) -> Any:
  """Finds an object by its dotted name, relative to difjax or absolute.

  Raises:
    ConfigError: the name does not exist or may not be used.
  """
  if not isinstance(name, str):
    raise errors.ConfigError(f'{path} must be a name, not {name!r}')
  package, _, attribute = name.partition('.')
  if package.isidentifier() and _is_ours(package):
    return _exported(package, attribute, name, path)
  if not (trusted or name in FOREIGN or package in trust):
    raise errors.ConfigError(
      f'{path}: {name!r} may not be used by a saved config{_homonym(name)}; if '
      f'you trust it, add --trust={package} or give the config file itself'
    )
  try:
    return _import(name)
  except (ImportError, AttributeError, TypeError, ValueError) as error:
    raise errors.ConfigError(
      f'{path}: there is no {name!r} ({error}){_homonym(name)}'
    ) from None


def surplus(name: str, keys: Collection[str], path: str) -> list[str]:
  """Returns which keys are no arguments of what a difjax name stands for.

  None are of a name that is not difjax's: nothing is imported to find out.

  Args:
    name: of a class or function.
    keys: arguments.
    path: where the name stands in the config, for error messages.

  Raises:
    ConfigError: difjax has no such name.
  """
  if not _is_ours(name.partition('.')[0]):
    return []
  parameters = inspect.signature(resolve(name, path=path)).parameters
  open_ended = inspect.Parameter.VAR_KEYWORD
  if any(each.kind is open_ended for each in parameters.values()):
    return []
  return sorted(set(keys) - set(parameters))


def save(spec: Any, file: pathlib.Path) -> None:
  """Writes a config as JSON."""
  data = spec.to_dict() if hasattr(spec, 'to_dict') else spec
  # A full disk must not lose the old one, nor processes each other's.
  partial = file.with_suffix(f'.{secrets.token_hex(4)}.partial')
  partial.write_text(json.dumps(data, indent=2, sort_keys=True) + '\n')
  partial.replace(file)


def load(file: pathlib.Path) -> dict[str, Any]:
  """Reads a config that `save` wrote.

  Raises:
    ConfigError: the file is missing or no JSON object.
  """
  try:
    data = json.loads(file.read_text())
  except FileNotFoundError:
    raise errors.ConfigError(
      f'{file} is not there: is {file.parent} the work directory of a run?'
    ) from None
  except (OSError, ValueError) as error:
    raise errors.ConfigError(f'{file} cannot be read: {error}') from None
  if not isinstance(data, dict):
    raise errors.ConfigError(f'{file} holds no config')
  return data


def differences(old: Any, new: Any, path: str = 'config') -> list[str]:
  """Lists the paths at which two plain configs differ, as `path: a -> b`."""
  if isinstance(old, Mapping) and isinstance(new, Mapping):
    return [
      line
      for key in sorted({*old, *new})
      for line in differences(
        old.get(key, '(absent)'), new.get(key, '(absent)'), f'{path}.{key}'
      )
    ]
  same = _listed(old) == _listed(new)
  return [] if same else [f'{path}: {old!r} -> {new!r}']


def _listed(value: Any) -> Any:
  sequence = isinstance(value, list | tuple)
  return [_listed(item) for item in value] if sequence else value


def _ordered(
  spec: Mapping[str, Any], recurse: Callable[[Any, object], Any], path: str
) -> tuple[Any, ...]:
  missing = [name for name in spec['order'] if name not in spec]
  if missing:
    raise errors.ConfigError(f'{path}.order names {missing[0]!r}, not a part')
  return tuple(recurse(spec[name], name) for name in spec['order'])


def _is_ours(package: str) -> bool:
  return importlib.util.find_spec(f'difjax.{package}') is not None


def _exported(package: str, attribute: str, name: str, path: str) -> Any:
  module = importlib.import_module(f'difjax.{package}')
  exported = getattr(module, '__all__', ())
  if attribute not in exported:
    raise errors.ConfigError(
      f'{path}: there is no {name!r}{_suggest(attribute, exported)}'
    )
  return getattr(module, attribute)


def _homonym(name: str) -> str:
  """Suggests the name of ours that ends as another does, if there is one."""
  folder, last = pathlib.Path(__file__).parent, name.rpartition('.')[2]
  for _, package, _ in pkgutil.iter_modules([str(folder)]):
    with contextlib.suppress(ImportError):  # it needs an extra
      module = importlib.import_module(f'difjax.{package}')
      if last in getattr(module, '__all__', ()):
        return f'; did you mean {f"{package}.{last}"!r}?'
  return ''


def _import(name: str) -> Any:
  """Imports the longest module that begins `name`, then walks attributes."""
  parts = name.split('.')
  for split in range(len(parts) - 1, 0, -1):
    module = '.'.join(parts[:split])
    try:
      found = importlib.import_module(module)
    except ModuleNotFoundError as error:
      if not (error.name and module.startswith(error.name)):
        raise
      continue
    for part in parts[split:]:
      found = getattr(found, part)
    return found
  raise ImportError(f'no module named {parts[0]!r}')


def _check_arguments(
  target: Callable[..., Any],
  arguments: Mapping[str, Any],
  path: str,
  *,
  complete: bool,
) -> None:
  """Checks names, and the types that annotations state as plain classes."""
  parameters = inspect.signature(target).parameters
  kinds = {parameter.kind for parameter in parameters.values()}
  if inspect.Parameter.VAR_KEYWORD not in kinds:
    for key in arguments:
      if key not in parameters:
        hint = _suggest(key, (*parameters, *_KEYS[:1]))
        raise errors.ConfigError(f'{path}.{key}: no such key{hint}')
  if complete:
    for key, parameter in parameters.items():
      needed = parameter.default is inspect.Parameter.empty and (
        parameter.kind is not inspect.Parameter.VAR_KEYWORD
        and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
      )
      if needed and key not in arguments:
        raise errors.ConfigError(f'{path}.{key} is missing')
  hints = _hints(target)
  for key, value in arguments.items():
    if not _fits(value, hints.get(key)):
      raise errors.ConfigError(f'{path}.{key} {_wanted(hints[key], value)}')


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
  try:
    return typing.get_type_hints(
      target.__init__ if isinstance(target, type) else target
    )
  except (AttributeError, NameError, TypeError):  # foreign: nothing to check
    return {}


def _fits(value: Any, hint: Any) -> bool:
  return any(_suits(value, option) for option in _options(hint))


def _suits(value: Any, hint: Any) -> bool:
  """Says whether a value is what one annotation asks for, if we can tell."""
  kind = typing.get_origin(hint) or hint
  if isinstance(value, dict):  # parts without a type where one is wanted
    return not _no_mapping(kind)
  if kind is Callable:
    return callable(value)
  if _is_role(kind):
    return not _lacking(value, kind)
  if kind is tuple and isinstance(value, tuple):
    part, *rest = typing.get_args(hint) or (Any,)
    return rest != [...] or all(_fits(each, part) for each in value)
  if kind not in (bool, int, float, str, tuple, types.NoneType):
    return True
  if isinstance(value, bool):
    return kind is bool
  return isinstance(value, (int, float) if kind is float else kind)


def _no_mapping(hint: Any) -> bool:
  """Says whether a dict cannot be what an annotation asks for."""
  if not isinstance(hint, type):
    return False
  return _is_role(hint) or not issubclass(dict, hint)


def _is_role(hint: Any) -> bool:
  return getattr(hint, '_is_protocol', False)


def _lacking(value: Any, role: type) -> list[str]:
  """Lists what a value does not have of a protocol."""
  names = {*role.__annotations__, *vars(role)} - {*vars(Protocol)}
  public = {name for name in names if not name.startswith('_')}
  return sorted(
    name
    for name in public | ({'__call__'} & {*vars(role)})
    if inspect.getattr_static(value, name, _ABSENT) is _ABSENT  # reads no data
  )


def _wanted(hint: Any, value: Any) -> str:
  """Says what a key must be, and what is wrong with a value."""
  options = _options(hint)
  roles = [option for option in options if _is_role(option)]
  if roles and not isinstance(value, dict):
    given = value if isinstance(value, str) else type(value).__name__
    lacking = ', '.join(_lacking(value, roles[0]))
    return f'must be a {roles[0].__name__}; {given} has no {lacking}'
  ordered = tuple in map(typing.get_origin, options)
  if ordered and value and isinstance(value, dict):
    return f"needs an order of its parts, such as order=('{min(value)}',)"
  return f'must be {_spelled(hint)}, not {value!r}'


def _options(hint: Any) -> tuple[Any, ...]:
  """Returns what a union is of, or the one annotation."""
  union = typing.get_origin(hint) in (types.UnionType, typing.Union)
  return typing.get_args(hint) if union else (hint,)


def _spelled(hint: Any) -> str:
  return hint.__name__ if isinstance(hint, type) else str(hint)


def nearest(word: str, known: Collection[str]) -> str | None:
  """Returns which of the known words a misspelt one is meant to be, if any."""
  folded = {name.lower(): name for name in known}
  close = difflib.get_close_matches(word.lower(), folded, n=1)
  return folded[close[0]] if close else None


def _suggest(word: str, known: tuple[str, ...]) -> str:
  close = nearest(word, known)
  if close:
    return f'; did you mean {close!r}?'
  shown = [name for name in known if name not in ('parent', 'name', 'self')]
  return f'; there are: {", ".join(shown)}' if shown else ''
