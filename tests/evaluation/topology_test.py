"""Slices by the names that people use."""

from __future__ import annotations

import pytest

from difjax import errors
from difjax.evaluation import topology


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


def test_devices_by_kind():
  assert topology.of_kind('TPU v5 lite').flops == 197e12
  assert topology.of_kind('TPU v5').flops == 459e12
  assert topology.of_kind('NVIDIA H100 80GB HBM3').flops == 989e12
  assert topology.of_kind('NVIDIA A100-SXM4-80GB').memory == 80e9
  assert topology.of_kind('cpu') is None
