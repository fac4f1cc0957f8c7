"""How parameters lie on the mesh: ordered rules outside the models.

A rule is a pattern over paths and a tactic. For every leaf the first rule whose
pattern is found in its path decides; moments and averages share their
parameter's rule, since their paths end alike.

A layer is split over tensor in pairs, as Megatron does it: the first matrix by
its outputs, the second by its inputs, so that what is between them is never
whole anywhere and one sum closes the pair. Source: Shoeybi et al. 2019
(1909.08053), section 3.
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
class Tensor:
  """Splits one axis over tensor, and by FSDP another.

  An axis that tensor does not divide is left to FSDP, as all are on a mesh
  without tensor.

  Attributes:
    axis: which one, from the end: -1 for outputs, -2 for the inputs of a
      matrix.
    rest: how the other axes are split.
  """

  axis: int
  rest: FSDP = FSDP()

  def __call__(self, shape: Shape, mesh: jax.sharding.Mesh) -> PartitionSpec:
    """Returns the split over tensor and fsdp."""
    parts = mesh.shape['tensor']
    if parts == 1 or shape[self.axis] % parts:
      return self.rest(shape, mesh)
    axis = len(shape) + self.axis
    held = (*shape[:axis], 1, *shape[axis + 1 :])  # fsdp takes another axis
    least = math.ceil(self.rest.min_size / shape[axis])
    rest = dataclasses.replace(self.rest, min_size=least)(held, mesh)
    places = [*rest, *(None,) * (len(shape) - len(rest))]
    places[axis] = 'tensor'
    return PartitionSpec(*places)


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


def resident(tree: PyTree) -> tuple[int, int]:
  """Returns the bytes that each device holds, and those that all hold alike.

  Args:
    tree: arrays or structs with shardings.
  """
  held = copied = 0
  for leaf in jax.tree.leaves(tree):
    size = leaf.dtype.itemsize
    held += size * math.prod(leaf.sharding.shard_shape(leaf.shape))
    if leaf.sharding.is_fully_replicated:
      copied += size * math.prod(leaf.shape)
  return held, copied
