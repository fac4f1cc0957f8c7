"""Objects of persistent classes, as the EDM family pickles its networks.

Such a pickle carries, for every object, the source text of its class, which
the family's own loader runs; here the text is dropped unread and the rest is
data: which class, what its constructor was called with, and the state of the
object. Parts of torch.nn inside are `records.Opaque` with a state of the same
form, so that one walk gives the weights of all.

A network-snapshot-*.pkl read by `container.read` is then, for example,

  {'ema': Object(kind='EDMPrecond', keywords={...}, state={...}), ...}

with `keywords` the official constructor's arguments and `arrays` of it what
torch calls its state_dict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

_INIT = frozenset({'_init_args', '_init_kwargs'})
_PARTS = frozenset({'_parameters', '_buffers', '_modules'})
_TYPES = ('class',)  # of what is persistent
_MOST = 20_000  # parts of a network


class Module(Protocol):
  """What has the state of a torch.nn.Module: an `Object`, or a record."""

  state: Any


@dataclasses.dataclass(eq=False, kw_only=True)
class Object:
  """An object of a persistent class.

  Attributes:
    kind: the name of its class.
    args: what its constructor was called with.
    keywords: the constructor's keyword arguments.
    state: its attributes by name; those of a torch.nn.Module have its
      `_parameters`, `_buffers` and `_modules` among them.
  """

  kind: str
  args: tuple[Any, ...] = dataclasses.field(default=(), repr=False)
  keywords: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
  state: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)


def reconstruct(meta: Mapping[str, Any]) -> Object:
  """Stands for the function that would run the source text in a pickle.

  Args:
    meta: what that function is called with.

  Raises:
    ValueError: that is not what this kind of pickle has.
  """
  if not isinstance(meta, Mapping) or meta.get('type') not in _TYPES:
    raise ValueError('a persistent object that is none')
  kind, state = meta.get('class_name'), meta.get('state')
  state = {} if state is None else state
  if not isinstance(kind, str) or not isinstance(state, dict):
    raise ValueError('a persistent object without class or state')
  own = {name: state[name] for name in state.keys() - _INIT}
  args, keywords = state.get('_init_args', ()), state.get('_init_kwargs', {})
  return Object(kind=kind, args=tuple(args), keywords=dict(keywords), state=own)


def arrays(module: Module) -> dict[str, np.ndarray]:
  """Returns the parameters and buffers of a module and those inside it.

  Args:
    module: an `Object`, or the record of a module of torch.nn.

  Returns:
    What torch calls the state_dict: by names with dots.

  Raises:
    ValueError: a part has no state of a module, or there are more parts than
      any network has: one part may stand in many places, even in itself.
  """
  found: dict[str, np.ndarray] = {}
  left = [('', module)]
  for _ in range(_MOST):
    if not left:
      return found
    prefix, part = left.pop()
    state = _state(part, prefix)
    found |= _own(state, prefix)
    inside = [
      (f'{prefix}{name}.', each) for name, each in state['_modules'].items()
      if each is not None]
    left += reversed(inside)
  raise ValueError(f'a network of more than {_MOST} parts')


def _state(module: Module, prefix: str) -> dict[str, Any]:
  """The state of a module by that name."""
  state = getattr(module, 'state', None)
  if not isinstance(state, dict) or not state.keys() >= _PARTS:
    raise ValueError(f'{prefix or "the network"} is no torch.nn.Module')
  return state


def _own(state: Mapping[str, Any], prefix: str) -> dict[str, np.ndarray]:
  """The arrays of a module itself, by their whole names."""
  passing = state.get('_non_persistent_buffers_set', ())
  arrays = {**state['_parameters'], **state['_buffers']}
  kept = {
    f'{prefix}{name}': array for name, array in arrays.items()
    if array is not None and name not in passing}
  for name, array in kept.items():
    if not isinstance(array, np.ndarray):
      raise ValueError(f'{name} is no array')
  return kept
