"""Rounding of images x in [-1, 1] to bytes, as the official codes do it.

  edm        floor(127.5 x + 128)        the nearest of the levels           (1)
  adm        floor(127.5 (x + 1))        as guided-diffusion samples         (2)
  score_sde  floor(255 ((x + 1) / 2))    of the image in [0, 1], truncated   (3)
  diffusers  round(255 (x / 2 + 1 / 2))  ties to even                        (4)

all clipped to 0 ... 255, in float32. (1) is that of EDM, DiT, SiT and MeanFlow.
(2) and (3) are equal but where 127.5 (x + 1) underflows; against (1) they lose
half a grey level on average, which moves a FID: say which one was used.
"""

from __future__ import annotations

import types
from collections.abc import Callable

import numpy as np

from difjax import errors
from difjax.data import device
from difjax.typing import Array

Quantiser = Callable[[Array], Array]


def adm(x: Array) -> Array:
  """Returns uint8 by equation (2) of float32 images, whatever their shape."""
  return ((x + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)


def score_sde(x: Array) -> Array:
  """Returns uint8 by equation (3) of float32 images, whatever their shape."""
  unit = (x + np.float32(1)) / np.float32(2)
  return (unit * np.float32(255)).clip(0, 255).astype(np.uint8)


def diffusers(x: Array) -> Array:
  """Returns uint8 by equation (4) of float32 images, whatever their shape."""
  unit = (x / np.float32(2) + np.float32(0.5)).clip(0, 1)
  return np.rint(unit * np.float32(255)).astype(np.uint8)


NAMED = types.MappingProxyType({
  'edm': device.to_bytes,
  'adm': adm,
  'score_sde': score_sde,
  'diffusers': diffusers,
})


def named(name: str) -> Quantiser:
  """Returns a quantiser.

  Raises:
    ConfigError: there is none of that name.
  """
  if name not in NAMED:
    raise errors.ConfigError(
      f'there is no quantiser {name!r}; there are: {", ".join(NAMED)}'
    )
  return NAMED[name]
