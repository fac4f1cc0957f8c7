"""Meshes over the eight virtual devices."""

from __future__ import annotations

import jax
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
