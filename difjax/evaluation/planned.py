"""The slices that a config is meant for, and the table of their plans.

Compiling takes minutes and libtpu, so what was found is kept in a table: a row
a config and slice, under a digest of what the program follows from. A config
that has changed since has another digest, and its rows say nothing any more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from difjax.evaluation import plan, plots

_PARTS = (  # of a config, that its program follows from
  'augment', 'data', 'dequantise', 'ema', 'mesh', 'objective', 'optimiser',
  'rules', 'seed',
)  # fmt: skip
_DIGITS = 4  # that figures of a table keep


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slices:
  """What a run is meant for.

  Attributes:
    names: of slices of TPUs, as `topology.parse` reads them.
    image: height, width and channels after all transforms, where the data are
      not at hand: random bytes of this shape stand for them.
    classes: labels of such data.
    note: what is to be known of these plans.
  """

  names: tuple[str, ...]
  image: tuple[int, int, int] | None = None
  classes: int = 0
  note: str = ''


def stand_in(spec: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config whose data can be had: random ones, if it says how.

  Args:
    spec: a whole config, as plain data.
  """
  meant = spec.get('plan', {})
  image = meant.get('image')
  if image is None:
    return dict(spec)
  height, width, channels = image
  source = dict(
    type='data.Synthetic', height=height, width=width, channels=channels,
    classes=meant.get('classes', 0),
  )  # fmt: skip
  return {**spec, 'data': {**spec['data'], 'source': source}}


def digest(spec: Mapping[str, Any]) -> str:
  """Returns a digest of all in a config that its program follows from."""
  spec = stand_in(spec)
  parts = {key: spec[key] for key in _PARTS if key in spec}
  text = json.dumps(parts, sort_keys=True, default=list)
  return hashlib.sha256(text.encode()).hexdigest()


def record(
  path: str | os.PathLike[str], name: str, spec: Mapping[str, Any],
  found: plan.Plan,
) -> None:  # fmt: skip
  """Writes a plan into a table, in place of its row.

  Args:
    path: of the table, which may be absent.
    name: of the config.
    spec: of the config, as plain data.
    found: its plan.
  """
  path = pathlib.Path(path)
  table = json.loads(path.read_text()) if path.exists() else {}
  table[f'{name} {found.slice} {found.step}'] = {
    'config': name,
    'digest': digest(spec),
    'note': spec.get('plan', {}).get('note', ''),
    **_rounded(found.record()),
  }
  text = json.dumps(dict(sorted(table.items())), indent=1)
  plots.write(path, f'{text}\n'.encode())


def _rounded(value: Any) -> Any:
  """Plain data with fewer digits."""
  if isinstance(value, dict):
    return {key: _rounded(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_rounded(item) for item in value]
  if isinstance(value, float):
    return float(f'{value:.{_DIGITS}g}')
  return value
