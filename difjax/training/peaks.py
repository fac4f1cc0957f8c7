"""How fast a chip can multiply at most, by the name that jax has for it.

Figures are the makers' for dense bfloat16 products with float32 sums. A TPU's
is that of a chip: up to v3 a chip shows as two devices, its cores, and later
chips as one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import jax

# In order; the first that fits the whole name counts. Cards of the same name
# that run at other clocks (PCIe, NVL) are not in the list: no figure is better
# than a wrong one.
_TERA = (
  ('TPU v3', 123),
  ('TPU v4', 275),
  ('TPU v5( lite|e)', 197),
  ('TPU v5p?', 459),
  ('TPU v6( lite|e)', 918),
  ('NVIDIA A100.*', 312),
  ('NVIDIA H100 80GB HBM3', 989),
  ('NVIDIA H200', 989),
)


def peak(device_kind: str) -> float | None:
  """Returns the bfloat16 FLOP/s of a chip, None for one that is not known.

  Args:
    device_kind: as a jax device spells it, such as 'TPU v5 lite'.
  """
  for pattern, tera in _TERA:
    if re.fullmatch(pattern, device_kind):
      return tera * 1e12
  return None


def chips(devices: Sequence[jax.Device]) -> int:
  """Counts chips: devices at the same place of the same slice are one."""
  return len({_place(device) for device in devices})


def _place(device: jax.Device) -> tuple[object, ...]:
  coords = getattr(device, 'coords', None)
  if coords is None:  # not a TPU: every device is a chip
    return (device.id,)
  return getattr(device, 'slice_index', 0), *coords
