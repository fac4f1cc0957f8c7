"""Slices by the names that people use, chips by those of jax."""

from __future__ import annotations

import types

import jax
import pytest

from difjax import errors
from difjax.training import topology


@pytest.mark.parametrize(('text', 'name', 'devices', 'memory'), [
  # Names and shapes as on the pages of Cloud TPU; memory a device in GiB.
  ('v5e-256', 'v5e:16x16', 256, 16),
  ('v5litepod-8', 'v5e:2x4', 8, 16),
  ('v5e:4x4', 'v5e:4x4', 16, 16),
  ('v4-8', 'v4:2x2x1', 4, 32),
  ('v4-32', 'v4:2x2x4', 16, 32),
  ('v4-128', 'v4:4x4x4', 64, 32),
  ('v5p-256', 'v5p:4x4x8', 128, 95),
  ('v6e-64', 'v6e:8x8', 64, 32),
  ('v3-8', 'v3:2x2', 8, 16),
  ('v3-256', 'v3:8x16', 256, 16),
])
def test_names(text, name, devices, memory):
  found = topology.parse(text)
  assert (found.name, found.devices) == (name, devices)
  assert found.chip.memory == memory * 2**30


@pytest.mark.parametrize('generation', ['v3', 'v4', 'v5e', 'v5p', 'v6e'])
def test_every_name_has_as_many_cores_as_it_says(generation):
  cores = 1 if generation in ('v5e', 'v6e') else 2  # that names count, a chip
  for count in (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
    try:
      found = topology.parse(f'{generation}-{count}')
    except errors.ConfigError:
      continue
    assert found.chips * cores == count


def test_the_compiler_is_told_of_megacore_and_of_small_hosts():
  assert topology.parse('v4-32').options() == {'chip_config_name': 'megacore'}
  assert topology.parse('v5e-256').options() == {}
  assert topology.parse('v5e-1').options() == {
    'chips_per_host_bounds': (1, 1, 1)
  }


@pytest.mark.parametrize(('text', 'said'), [
  ('v9-8', 'v5e:16x16'),
  ('tpu', 'v5e:16x16'),
  ('v4-33', 'v4-32'),
  ('v5e:16', '2 sides'),
  ('v5e:2x2x2', '2 sides'),
  ('v4:4x4', '3 sides'),
  ('v5e:0x4', '2 sides'),
])
def test_others_are_refused(text, said):
  with pytest.raises(errors.ConfigError, match=said) as caught:
    topology.parse(text)
  assert text in str(caught.value)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(('kind', 'tera'), [
  ('TPU v3', 61.5), ('TPU v4', 275), ('TPU v5 lite', 197), ('TPU v5e', 197),
  ('TPU v5', 459), ('TPU v5p', 459), ('TPU v6 lite', 918), ('TPU v6e', 918),
  ('NVIDIA A100-SXM4-40GB', 312), ('NVIDIA A100 80GB PCIe', 312),
  ('NVIDIA H100 80GB HBM3', 989), ('NVIDIA H200', 989), ('NVIDIA L4', 121),
])  # fmt: skip
def test_the_makers_figures(kind, tera):
  """A v3's is half of its chip's: each of the cores is a device."""
  assert topology.of_kind(kind).flops == tera * 1e12


@pytest.mark.parametrize(('kind', 'memory'), [
  ('NVIDIA A100-SXM4-80GB', 80e9), ('A100-SXM4-40GB', 40e9),
  ('NVIDIA H200', 141e9), ('TPU v5', 95 * 2**30),
])  # fmt: skip
def test_memory_by_kind(kind, memory):
  assert topology.of_kind(kind).memory == memory


@pytest.mark.parametrize('kind', [
  'cpu', 'TPU v4 lite', 'NVIDIA H100 PCIe', 'NVIDIA H100 NVL', 'TPU v50',
  'NVIDIA L40S', '',
])  # fmt: skip
def test_what_is_not_known_has_none(kind):
  assert topology.of_kind(kind) is None


def core(number, coords, slice_index=0):
  return types.SimpleNamespace(
    id=number, coords=coords, slice_index=slice_index
  )


def test_two_cores_are_a_chip():
  places = [(x, y, 0) for x in range(2) for y in range(2)]
  host = [core(i, places[i // 2]) for i in range(8)]  # of a v3
  assert topology.chips(host) == 4
  assert topology.chips(host[:1]) == 1


def test_slices_have_chips_of_their_own():
  slices = [core(i, (0, 0, 0), slice_index=i) for i in range(3)]
  assert topology.chips(slices) == 3


def test_a_device_without_a_place_is_a_chip():
  assert topology.chips(jax.devices()) == len(jax.devices())
