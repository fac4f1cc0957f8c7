"""How parameters lie on the mesh: ordered rules outside the models.

A rule is a pattern over paths and a tactic. For every leaf the first rule whose
pattern is found in its path decides; moments and averages share their
parameter's rule, since their paths end alike.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Protocol

import jax
from jax.sharding import NamedSharding, PartitionSpec

from difjax import errors, pytree
from difjax.typing import PyTree, Shape


class Tactic(Protocol):
  """Chooses how one array is split."""

  def __call__(self, shape: Shape, mesh: jax.sharding.Mesh) -> PartitionSpec:
    """Returns the split of an array of this shape."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replicate:
  """Every device holds the whole array."""

  def __call__(self, shape: Shape, mesh: jax.sharding.Mesh) -> PartitionSpec:
    """Returns the empty split."""
    del shape, mesh
    return PartitionSpec()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FSDP:
  """Splits the longest axis that the fsdp axis of the mesh divides.

  Attributes:
    min_size: arrays of fewer numbers stay whole.
    skip: leading axes never split, such as the axis of a scan over blocks.
  """

  min_size: int = 2**16
  skip: int = 0

  def __call__(self, shape: Shape, mesh: jax.sharding.Mesh) -> PartitionSpec:
    """Returns the split over fsdp, or none where nothing divides."""
    parts = mesh.shape['fsdp']
    axes = [i for i in range(self.skip, len(shape)) if shape[i] % parts == 0]
    if parts == 1 or math.prod(shape) < self.min_size or not axes:
      return PartitionSpec()
    longest = max(axes, key=lambda i: shape[i])
    return PartitionSpec(*(None,) * longest, 'fsdp')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """A tactic for the paths in which a pattern is found.

  Attributes:
    pattern: a regular expression, searched for in `block_0/attention/kernel`.
    tactic: how their arrays are split.
  """

  pattern: str
  tactic: Tactic


def shardings(
  tree: PyTree, rules: Sequence[Rule], mesh: jax.sharding.Mesh
) -> PyTree:
  """Returns a NamedSharding for every leaf of a tree of arrays or structs.

  Raises:
    ConfigError: a leaf that no rule matches, or a rule that matches nothing.
  """
  used = set()

  def choose(path: str, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    for i, rule in enumerate(rules):
      if re.search(rule.pattern, path):
        used.add(i)
        return NamedSharding(mesh, rule.tactic(leaf.shape, mesh))
    raise errors.ConfigError(
      f'config.rules: no rule matches the parameter {path}; end with ".*"'
    )

  chosen = pytree.map_named(choose, tree)
  for i, rule in enumerate(rules):
    if i not in used:
      raise errors.ConfigError(
        f'config.rules: {rule.pattern!r} matches no parameter'
      )
  return chosen
