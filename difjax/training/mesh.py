"""The device mesh, by three axes.

`data` holds copies of the model, `fsdp` shards parameters and their moments as
well as the batch, `tensor` splits single layers. A batch is sharded over data
and fsdp together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ('data', 'fsdp', 'tensor')
BATCH = ('data', 'fsdp')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
  """Sizes of the axes; one of them may be -1, all devices that are left.

  Attributes:
    data: copies of the model.
    fsdp: shards of the parameters.
    tensor: shards of single layers.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1

  def build(
    self, devices: Sequence[jax.Device] | None = None
  ) -> jax.sharding.Mesh:
    """Arranges the devices, all of them by default.

    Raises:
      ValueError: the axes do not multiply to the number of devices.
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
    return jax.make_mesh(
      sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices
    )


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Returns the sharding of a batch's first axis."""
  return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Returns the sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_shards(mesh: jax.sharding.Mesh) -> int:
  """Returns the number of parts that a batch is cut into."""
  return int(np.prod([mesh.shape[axis] for axis in BATCH]))
