"""Meshes over the eight virtual devices."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from difjax import training
from difjax.training import mesh as meshes


@pytest.mark.parametrize(
  ('sizes', 'shape'),
  [
    ({}, (8, 1, 1)),
    ({'data': 1, 'fsdp': -1}, (1, 8, 1)),
    ({'data': 2, 'fsdp': 2, 'tensor': 2}, (2, 2, 2)),
    ({'fsdp': 4}, (2, 4, 1)),
  ],
)
def test_axes(sizes, shape):
  mesh = training.Mesh(**sizes).build()
  assert dict(mesh.shape) == dict(
    zip(('data', 'fsdp', 'tensor'), shape, strict=True)
  )
  assert set(mesh.devices.flat) == set(jax.devices())
  assert set(mesh.axis_types) == {AxisType.Auto}


def test_chosen_devices():
  chosen = jax.devices()[2:5]
  assert list(training.Mesh().build(chosen).devices.flat) == chosen


@pytest.mark.parametrize(
  'sizes',
  [
    {'fsdp': 3},
    {'data': 4},
    {'fsdp': 16},
    {'fsdp': 0},
    {'data': -2, 'fsdp': -4},
    {'data': -1, 'fsdp': -1},
  ],
)
def test_axes_that_do_not_fit_are_named(sizes):
  (axis, size), *_ = sizes.items()
  with pytest.raises(ValueError, match=f'{axis}={size}.* does not fit 8'):
    training.Mesh(**sizes).build()


def test_a_batch_is_split_over_data_and_fsdp():
  mesh = training.Mesh(data=2, fsdp=2, tensor=2).build()
  assert meshes.batch_shards(mesh) == 4
  placed = meshes.batch_sharding(mesh)
  assert placed.shard_shape((8, 3, 3, 1)) == (2, 3, 3, 1)
  rows = placed.devices_indices_map((8, 1))
  starts = {d: index[0].start for d, index in rows.items()}
  # Devices along the tensor axis hold the same rows.
  assert [starts[d] or 0 for d in mesh.devices.flat] == [0, 0, 2, 2, 4, 4, 6, 6]
  whole = meshes.replicated(mesh)
  assert whole.shard_shape((8, 3)) == (8, 3)


@dataclasses.dataclass(frozen=True)
class Fake:
  """A device of a cluster that is not here."""

  id: int
  slice_index: int
  process_index: int
  platform: str = 'gpu'
  device_kind: str = 'fake'


def cluster(nodes, each):
  """Nodes that know themselves as slices, each of two processes."""
  return [
    Fake(id=i, slice_index=i // each, process_index=2 * i // each)
    for i in range(nodes * each)
  ]


def slices_along(mesh):
  """Returns, by axis, whether the slice changes along it."""
  which = np.vectorize(lambda device: device.slice_index)(mesh.devices)
  return tuple(bool(np.diff(which, axis=axis).any()) for axis in range(3))


@pytest.mark.parametrize(
  ('sizes', 'crossed'),
  [
    ({}, (True, False, False)),
    ({'data': 2, 'fsdp': 8}, (True, False, False)),
    ({'data': 2, 'fsdp': 2, 'tensor': 4}, (True, False, False)),
    ({'data': 1, 'fsdp': 16}, (False, True, False)),  # no copies to spread
    ({'data': 1, 'fsdp': 4, 'tensor': 4}, (False, True, False)),
  ],
)
def test_what_is_said_least_crosses_the_slow_network(sizes, crossed):
  mesh = training.Mesh(**sizes).build(cluster(2, 8))
  assert slices_along(mesh) == crossed
  assert len(set(mesh.devices.flat)) == 16


def test_slices_are_spread_over_data_and_then_fsdp():
  mesh = training.Mesh(data=2, fsdp=8).build(cluster(4, 4))
  which = np.vectorize(lambda device: device.slice_index)(mesh.devices)
  assert which[:, :, 0].tolist() == [[0] * 4 + [1] * 4, [2] * 4 + [3] * 4]


def test_processes_are_slices_where_devices_do_not_say_so():
  devices = [dataclasses.replace(d, slice_index=0) for d in cluster(2, 4)]
  mesh = training.Mesh(data=4, fsdp=2, slices=4).build(devices)
  for row in mesh.devices:
    assert len({device.process_index for device in row.flat}) == 1


def test_tensor_never_crosses():
  with pytest.raises(ValueError, match='does not fit 2 slices'):
    training.Mesh(data=1, fsdp=1, tensor=16).build(cluster(2, 8))


def test_slices_that_are_not_there_are_named():
  with pytest.raises(ValueError, match=r'slices=3 does not fit .* 2 slices'):
    training.Mesh(slices=3).build(cluster(2, 6))
