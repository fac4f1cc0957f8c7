"""Parameter trees by path: names, sizes, fingerprints."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from difjax.typing import PyTree


def name(path: tuple[Any, ...]) -> str:
  """Spells a key path as `block_0/attention/kernel`."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
  """Lists (path, leaf) in the tree's order."""
  return [(name(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]


def map_named(function: Callable[[str, Any], Any], tree: PyTree) -> PyTree:
  """Maps a function of (path, leaf) over a tree."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: function(name(path), leaf), tree
  )


def count(tree: PyTree) -> int:
  """Counts the numbers in a tree of arrays or shape structs."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def digest(tree: PyTree) -> str:
  """Returns the sha256 of all leaves' paths, types, shapes and bits."""
  total = hashlib.sha256()
  for path, leaf in named_leaves(tree):
    array = np.asarray(jax.device_get(leaf))
    total.update(f'{path} {array.dtype} {array.shape}\n'.encode())
    total.update(array.tobytes())
  return total.hexdigest()
