"""What every network is made of: initialisers, norms and one sharding word.

Parameters are float32 whatever the compute `dtype`; statistics of norms are
float32 too. Convolutions are channels last.

The initialiser of the score-SDE networks draws uniformly with variance

  Var W = s / ((fan_in + fan_out) / 2)                                   (1)

and writes s = 1e-10 for s = 0, so that a layer that should start silent still
breaks symmetry.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec

from difjax.typing import Array

Initialiser = Callable[..., Array]
Factory = Callable[..., nn.Module]  # makes a fresh module of its fields

# A logical axis and the mesh axes over which it is laid out.
_MESH_AXES: Final = types.MappingProxyType({
  'batch': ('data', 'fsdp'),
  'heads': ('tensor',),
  'hidden': ('tensor',),
  'whole': (),  # beside others: on no axis
})


def fan_average(scale: float = 1.0) -> Initialiser:
  """Uniform initialiser of equation (1); `scale` 0 stands for 1e-10."""
  return nn.initializers.variance_scaling(
    scale or 1e-10, 'fan_avg', 'uniform')


def conv(
  features: int, kernel: int, *, dtype: jax.typing.DTypeLike | None,
  scale: float = 1.0, name: str
) -> nn.Conv:
  """A square convolution of stride 1 with the initialiser (1)."""
  return nn.Conv(
    features, (kernel, kernel), kernel_init=fan_average(scale), dtype=dtype,
    conv_general_dilated=_pointwise if kernel == 1 else None, name=name)


def _pointwise(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
  """A convolution of one tap: XLA is slow to see that it is a product."""
  return x @ kernel[0, 0]


def dense(
  features: int, kernel_init: Initialiser, *,
  dtype: jax.typing.DTypeLike | None, name: str
) -> nn.Dense:
  """A dense layer for tokens [B, N, C]."""
  return nn.Dense(
    features, kernel_init=kernel_init, dtype=dtype, dot_general=_rowwise,
    name=name)


def _rowwise(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
  """A product of tokens as rows: its gradients need no transposed copies."""
  rows = x.reshape(-1, x.shape[-1]) @ kernel
  return rows.reshape(*x.shape[:-1], -1)


class GroupNorm(nn.Module):
  """Group normalisation with the group count of the score-SDE networks.

  There are min(`groups`, C // `min_channels`) groups; `min_channels` 1 gives
  the fixed count of ADM. Statistics are those of at least float32, and are
  taken of positions first and of a group's channels after that: channels stay
  the last axis, which accelerators and CPUs run along.
  """

  groups: int = 32
  min_channels: int = 4
  epsilon: float = 1e-6
  dtype: jax.typing.DTypeLike | None = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Normalises [B, ..., C].

    Raises:
      ValueError: when the groups do not divide the channels.
    """
    batch, *sizes, channels = x.shape
    groups = min(self.groups, channels // self.min_channels)
    if not groups or channels % groups:
      raise ValueError(
        f'GroupNorm: {groups} groups do not divide {channels} channels; '
        f'choose channels divisible by {max(groups, self.min_channels)}')

    def mean(h: Array) -> Array:
      """Means over positions and groups, [B, 1, ..., C]."""
      each = h.mean(tuple(range(1, h.ndim - 1)))
      within = each.reshape(batch, groups, channels // groups)
      whole = jnp.broadcast_to(within.mean(-1, keepdims=True), within.shape)
      return whole.reshape(batch, *[1] * len(sizes), channels)

    scale, shift = Affine(name='norm')(channels)
    h = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    h = h - mean(h)
    h = h * (jax.lax.rsqrt(mean(h**2) + self.epsilon) * scale) + shift
    return h.astype(self.dtype or h.dtype)


class Affine(nn.Module):
  """The parameters of a norm: a scale and a shift a channel."""

  @nn.compact
  def __call__(self, channels: int) -> tuple[Array, Array]:
    """Returns scale [C], ones at first, and shift [C], zeros at first."""
    return (
      self.param('scale', nn.initializers.ones, (channels,)),
      self.param('bias', nn.initializers.zeros, (channels,)),
    )


def check_halving(owner: nn.Module, shape: tuple[int, ...], times: int) -> None:
  """Refuses sizes that cannot be halved so often.

  Args:
    owner: the network, for the error.
    shape: of its input.
    times: once for each level but the first.

  Raises:
    ValueError: the shape is not [B, H, W, C], or a side does not divide.
  """
  factor = 2**times
  if len(shape) != 4 or shape[1] % factor or shape[2] % factor:
    raise ValueError(
      f'{type(owner).__name__}: an input of shape {shape} cannot be halved '
      f'{times} times; resize or pad the data to [B, H, W, C] with sides '
      f'divisible by {factor}, or use fewer levels')


def constrain(x: Array, *axes: str | None) -> Array:
  """Lays the leading axes of `x` out over the mesh in force.

  `axes` are logical names ('batch', 'heads', 'hidden'), 'whole' for an axis
  that is split nowhere beside them, or None for one left to the compiler, as
  are all axes after them. Without a mesh, with mesh axes that are not
  automatic or have one device, and for sizes that the mesh does not divide,
  nothing happens.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x

  free = PartitionSpec.UNCONSTRAINED

  def place(size: int, axis: str | None) -> tuple[str, ...] | object | None:
    if axis is None:
      return free
    if not _MESH_AXES[axis]:
      return None
    names = tuple(n for n in _MESH_AXES[axis] if n in mesh.auto_axes)
    parts = math.prod(mesh.shape[n] for n in names)
    return names if parts > 1 and size % parts == 0 else free

  places = [place(*pair) for pair in zip(x.shape, axes, strict=False)]
  if all(p is free or p is None for p in places):
    return x
  places += [free] * (x.ndim - len(places))
  return jax.lax.with_sharding_constraint(x, PartitionSpec(*places))
