"""What an importer makes of a checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

from difjax.typing import Params

Spec = dict[str, Any]


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
  """

  spec: Spec
  params: Params
  network: Spec
  info: dict[str, Any]
