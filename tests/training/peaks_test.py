"""The makers' figures, by the names that jax gives their chips."""

from __future__ import annotations

import types

import jax
import pytest

from difjax.training import peaks


@pytest.mark.parametrize(('kind', 'tera'), [
  ('TPU v3', 123), ('TPU v4', 275), ('TPU v5 lite', 197), ('TPU v5e', 197),
  ('TPU v5', 459), ('TPU v5p', 459), ('TPU v6 lite', 918), ('TPU v6e', 918),
  ('NVIDIA A100-SXM4-40GB', 312), ('NVIDIA A100 80GB PCIe', 312),
  ('NVIDIA H100 80GB HBM3', 989), ('NVIDIA H200', 989),
])  # fmt: skip
def test_the_makers_figures(kind, tera):
  assert peaks.peak(kind) == tera * 1e12


@pytest.mark.parametrize(
  'kind',
  ['cpu', 'TPU v4 lite', 'NVIDIA H100 PCIe', 'NVIDIA H100 NVL', 'TPU v50', ''],
)
def test_what_is_not_known_has_none(kind):
  assert peaks.peak(kind) is None


def core(number, coords, slice_index=0):
  return types.SimpleNamespace(
    id=number, coords=coords, slice_index=slice_index
  )


def test_two_cores_are_a_chip():
  places = [(x, y, 0) for x in range(2) for y in range(2)]
  host = [core(i, places[i // 2]) for i in range(8)]  # of a v3
  assert peaks.chips(host) == 4
  assert peaks.chips(host[:1]) == 1


def test_slices_have_chips_of_their_own():
  slices = [core(i, (0, 0, 0), slice_index=i) for i in range(3)]
  assert peaks.chips(slices) == 3


def test_a_device_without_a_place_is_a_chip():
  assert peaks.chips(jax.devices()) == len(jax.devices())
