"""What a checkpoint holds: its items, and type and shape of every array.

Every part of the state is an item of its own: `params` and each average can be
read without the rest.
"""

from __future__ import annotations

import dataclasses

from difjax import pytree
from difjax.training import state as states
from difjax.typing import PyTree

_AVERAGE = 'ema.'  # and its name: the item of an average
_NAMED = 3  # differences that an error names


def item(average: str) -> str:
  """Returns the item of an average, or of the parameters for ''."""
  return _AVERAGE + average if average else 'params'


def split(state: states.TrainState) -> dict[str, PyTree]:
  """Returns the items of a state by name."""
  fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
  params, averages = fields.pop('params'), fields.pop('ema')
  ema = {item(name): tree for name, tree in averages.items()}
  return {'params': params, **ema, 'rest': fields}


def join(
  items: dict[str, PyTree], averages: dict[str, PyTree]
) -> states.TrainState:
  """Returns the state of items that `split` made, with averages so named."""
  ema = {name: items[item(name)] for name in averages}
  return states.TrainState(params=items['params'], ema=ema, **items['rest'])


def describe(items: dict[str, PyTree]) -> dict[str, dict[str, str]]:
  """Lists type and shape of every array by its path, for every item."""
  spell = lambda leaf: f'{leaf.dtype}{list(leaf.shape)}'
  return {
    name: {path: spell(leaf) for path, leaf in pytree.named_leaves(tree)}
    for name, tree in items.items()
  }


def misfit(
  saved: dict[str, dict[str, str]], wanted: dict[str, dict[str, str]]
) -> str | None:
  """Names where the wanted items differ from the saved ones, None if nowhere.

  Args:
    saved: what `describe` said of a checkpoint.
    wanted: what it says of the items to be read.
  """
  found = [
    f'{name}/{path} is {old} there and {new} here'
    for name, here in wanted.items()
    for there in [saved.get(name, {})]
    for path in sorted({*there, *here})
    for old, new in [(there.get(path, 'absent'), here.get(path, 'absent'))]
    if old != new
  ]
  more = [f'and {len(found) - _NAMED} more'] if len(found) > _NAMED else []
  return '; '.join(found[:_NAMED] + more) or None
