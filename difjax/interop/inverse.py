"""The way back through maps of weights that only move numbers.

An importer turns official arrays into ours by transposing, splitting and
stacking. What it does to numbers it does to their places too: with the places
0, 1, 2, ... in the official arrays, its result says where each of our numbers
is from. No map is written twice, and none can differ from its way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Shape = tuple[int, ...]


def undone(
  turn: Callable[..., np.ndarray], array: np.ndarray, shapes: Sequence[Shape]
) -> list[np.ndarray]:
  """Solves turn(*found) = array.

  Args:
    turn: moves the numbers of arrays, and changes none.
    array: what it has to give.
    shapes: of the arrays to find, which have as many numbers together.

  Raises:
    ValueError: there are no such arrays.
  """
  ends = np.cumsum([math.prod(shape) for shape in shapes])
  parts = np.split(np.arange(ends[-1]), ends[:-1])
  places = turn(*map(np.reshape, parts, shapes))
  flat = np.empty(ends[-1], array.dtype)
  flat[np.ravel(places)] = np.reshape(array, np.shape(places)).ravel()
  return [*map(np.reshape, np.split(flat, ends[:-1]), shapes)]


def output_first(shape: Shape) -> Shape:
  """Returns PyTorch's shape of a kernel whose shape is (..., input, output)."""
  return shape[:-3:-1] + shape[:-2] if len(shape) > 1 else shape
