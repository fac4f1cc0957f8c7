"""What an importer makes of a checkpoint."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable
from typing import Any

from difjax import errors
from difjax.typing import Params

Spec = dict[str, Any]
COLOURS = (1, 3)  # channels of images; what has others is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Converted:
  """A network of another project in terms of this one.

  Attributes:
    spec: specification of the objective, for `config.build`: data in [-1, 1],
      times those of its process.
    params: of either network, float32, on the host.
    network: specification of the network as its authors call it: their range
      of images, their time input, their raw output. Same parameters.
    info: plain facts: which weights, the step, the image's shape (H, W, C)
      and what else is worth knowing.
    sampler: specification of the sampler that official settings ask for; None
      where they say nothing of it.
  """

  spec: Spec
  params: Params
  network: Spec
  info: dict[str, Any]
  sampler: Spec | None = None


def check_names(
  family: str, given: Iterable[Any], known: Collection[str]
) -> None:
  """Refuses arguments that are written nearly like an official one.

  Others pass: what official configs hold beside a network's arguments is not
  ours to judge.

  Args:
    family: for the error.
    given: names of arguments.
    known: those of the official constructors.

  Raises:
    ConfigError: one is misspelt.
  """
  for name in sorted({str(name) for name in given} - set(known)):
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    if near:
      raise errors.ConfigError(
        f'{family}: there is no argument {name}: did you mean {near[0]}?')
