"""The device mesh, by three axes.

`data` holds copies of the model, `fsdp` shards parameters and their moments as
well as the batch, `tensor` splits single layers. A batch is sharded over data
and fsdp together.

Devices come in slices: within one they are joined by a fast network (ICI,
NVLink), between slices by a slow one (DCN). What is said least often crosses
it: data is spread over slices first, fsdp over what is left of them, tensor
never.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ('data', 'fsdp', 'tensor')
BATCH = ('data', 'fsdp')
_SLICE, _PROCESS = 'slice_index', 'process_index'  # of a device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
  """Sizes of the axes; one of them may be -1, all devices that are left.

  Attributes:
    data: copies of the model.
    fsdp: shards of the parameters.
    tensor: shards of single layers.
    slices: how many groups of devices a slow network joins; each process is
      one where devices do not say so. None for what devices say: TPUs know
      their slice, GPUs their node.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1
  slices: int | None = None

  def build(
    self, devices: Sequence[jax.Device] | None = None
  ) -> jax.sharding.Mesh:
    """Arranges the devices, all of them by default.

    Raises:
      ValueError: the axes do not multiply to the number of devices, or the
        devices are not that many slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [self.data, self.fsdp, self.tensor]
    known = math.prod(size for size in sizes if size != -1)
    left = len(devices) // max(known, 1)
    sizes = [left if n == -1 else n for n in sizes]
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
      raise ValueError(
        f'a mesh of data={self.data}, fsdp={self.fsdp}, tensor={self.tensor} '
        f'does not fit {len(devices)} devices'
      )
    # Auto: explicit axes refuse the head merge of attention (and the default
    # of make_mesh has become explicit).
    kinds = (AxisType.Auto,) * len(AXES)
    by, slices = self._slices(devices)
    if slices == 1:
      return jax.make_mesh(sizes, AXES, axis_types=kinds, devices=devices)
    outer = _outer(sizes, slices)
    inner = [size // part for size, part in zip(sizes, outer, strict=True)]
    grid = mesh_utils.create_hybrid_device_mesh(
      inner, outer, devices,
      process_is_granule=by == _PROCESS,
      allow_split_physical_axes=True,  # a v5e's axes are not those of ours
    )  # fmt: skip
    return jax.sharding.Mesh(grid, AXES, axis_types=kinds)

  def _slices(self, devices: Sequence[jax.Device]) -> tuple[str, int]:
    """Returns the attribute that tells slices apart, and their number."""
    found = {by: _count(devices, by) for by in (_SLICE, _PROCESS)}
    wanted = found[_SLICE] if self.slices is None else self.slices
    for by, count in found.items():
      if wanted in (1, count):
        return by, wanted
    raise ValueError(
      f'slices={self.slices} does not fit devices of {found[_SLICE]} slices '
      f'and {found[_PROCESS]} processes'
    )


def _count(devices: Sequence[jax.Device], attribute: str) -> int:
  return len({getattr(device, attribute, 0) for device in devices})


def _outer(sizes: Sequence[int], slices: int) -> list[int]:
  """Spreads slices over data, then fsdp.

  Raises:
    ValueError: they do not divide.
  """
  data = math.gcd(sizes[0], slices)
  fsdp = slices // data
  if sizes[1] % fsdp:
    raise ValueError(
      f'a mesh of data={sizes[0]}, fsdp={sizes[1]}, tensor={sizes[2]} does not '
      f'fit {slices} slices: they must divide data x fsdp'
    )
  return [data, fsdp, 1]


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Returns the sharding of a batch's first axis."""
  return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Returns the sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_shards(mesh: jax.sharding.Mesh) -> int:
  """Returns the number of parts that a batch is cut into."""
  return int(np.prod([mesh.shape[axis] for axis in BATCH]))


def nowhere() -> jax.sharding.Mesh:
  """Returns the mesh of no devices: under it a program runs where its data lie.

  Under any other what runs on one device alone is refused by jax.
  """
  return jax.sharding.Mesh(np.empty((), dtype=object), ())
