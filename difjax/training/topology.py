"""What chips can do, and the slices of TPUs by the names that people use.

Google names slices v2 to v5p by their TensorCores, two a chip, and v5e and v6e
by their chips; the compiler knows generations and shapes alone, as in
`v4:2x2x4`. On v4 and v5p both cores of a chip are one device of jax
("megacore"), on v3 each is a device with half of the chip's memory.

Figures are the makers', for dense bfloat16 products with float32 sums. Cards of
the same name that run at other clocks (PCIe, NVL) are not in the list: no
figure is better than a wrong one. Links are what a chip sends, half of what
makers call bidirectional.

Sources: the pages of docs.cloud.google.com/tpu/docs on v3, v4, v5e, v5p and
v6e; Jouppi et al. 2023 (2304.01433), table 4, for the links of v3 and v4;
NVIDIA's data sheets of A100, H100, H200 and L4.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Sequence
from typing import Final

import jax

from difjax import errors

_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """What one device of jax can do.

  Attributes:
    kind: of the device, as jax names it: a pattern of the whole name.
    flops: operations a second in bfloat16 at the peak, dense.
    memory: bytes.
    bandwidth: bytes a second from and to memory.
    links: bytes a second sent to neighbours.
    cores: devices of jax a chip.
    config: the compiler's name of the chip's configuration, if it needs one.
  """

  kind: str
  flops: float
  memory: float
  bandwidth: float
  links: float
  cores: int = 1
  config: str | None = None


_TPUS: Final = types.MappingProxyType({
  'v3': Chip(  # halves of 123 TFLOP/s, 32 GiB, 900 GB/s, 4 x 70 GB/s
    kind='TPU v3', flops=61.5e12, memory=16 * _GIB, bandwidth=450e9,
    links=140e9, cores=2,
  ),
  'v4': Chip(  # 6 x 50 GB/s
    kind='TPU v4', flops=275e12, memory=32 * _GIB, bandwidth=1200e9,
    links=300e9, config='megacore',
  ),
  'v5e': Chip(  # 400 GB/s both ways
    kind='TPU v5( lite|e)', flops=197e12, memory=16 * _GIB, bandwidth=819e9,
    links=200e9,
  ),
  'v5p': Chip(  # 1200 GB/s both ways
    kind='TPU v5p?', flops=459e12, memory=95 * _GIB, bandwidth=2765e9,
    links=600e9, config='megacore',
  ),
  'v6e': Chip(  # 800 GB/s both ways
    kind='TPU v6( lite|e)', flops=918e12, memory=32 * _GIB, bandwidth=1638e9,
    links=400e9,
  ),
})  # fmt: skip

# By the pattern of the whole name; links are NVLink, or PCIe 4 x16.
_GPUS: Final = tuple(
  Chip(kind=kind, flops=flops, memory=memory, bandwidth=bandwidth, links=links)
  for kind, flops, memory, bandwidth, links in (
    ('NVIDIA H200', 989e12, 141e9, 4800e9, 450e9),
    ('NVIDIA H100 80GB HBM3', 989e12, 80e9, 3350e9, 450e9),
    ('(NVIDIA )?A100-SXM4-80GB', 312e12, 80e9, 2039e9, 300e9),
    ('(NVIDIA )?A100-SXM4-40GB', 312e12, 40e9, 1555e9, 300e9),
    ('NVIDIA A100 80GB PCIe', 312e12, 80e9, 1935e9, 32e9),
    ('(NVIDIA )?A100-PCIE-40GB', 312e12, 40e9, 1555e9, 32e9),
    ('NVIDIA L4', 121e12, 24e9, 300e9, 32e9),
  )
)

_FLAT: Final = types.MappingProxyType({
  1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8', 128: '8x16',
  256: '16x16',
})  # fmt: skip
_CUBES: Final = types.MappingProxyType({  # by cores, two a chip
  8: '2x2x1', 16: '2x2x2', 32: '2x2x4', 64: '2x4x4', 128: '4x4x4',
  256: '4x4x8', 512: '4x8x8', 1024: '8x8x8', 2048: '8x8x16', 4096: '8x16x16',
})  # fmt: skip
_SQUARES: Final = types.MappingProxyType({  # by cores, two a chip
  8: '2x2', 32: '4x4', 64: '4x8', 128: '8x8', 256: '8x16', 512: '16x16',
  1024: '16x32', 2048: '32x32',
})  # fmt: skip
_SIZES: Final = types.MappingProxyType({
  'v3': _SQUARES, 'v4': _CUBES, 'v5e': _FLAT, 'v5p': _CUBES, 'v6e': _FLAT,
})  # fmt: skip
_ALIASES: Final = types.MappingProxyType({'v5litepod': 'v5e'})
_LEAST: Final = 4  # chips of a host; the compiler's default bounds are 2x2x1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
  """A slice of TPUs.

  Attributes:
    generation: such as 'v5e'.
    shape: of its chips, such as (16, 16).
  """

  generation: str
  shape: tuple[int, ...]

  @property
  def name(self) -> str:
    """As the compiler calls it: 'v5e:16x16'."""
    return f'{self.generation}:{"x".join(map(str, self.shape))}'

  @property
  def chip(self) -> Chip:
    """What each device can do."""
    return _TPUS[self.generation]

  @property
  def chips(self) -> int:
    """How many chips there are."""
    return math.prod(self.shape)

  @property
  def devices(self) -> int:
    """How many devices jax sees."""
    return self.chips * self.chip.cores

  def options(self) -> dict[str, str | tuple[int, ...]]:
    """What the compiler has to be told beside the name."""
    options = {}
    if self.chip.config:
      options['chip_config_name'] = self.chip.config
    if self.chips < _LEAST:
      options['chips_per_host_bounds'] = (*self.shape, 1)
    return options


def parse(text: str) -> Slice:
  """Reads a name: 'v5e:16x16', 'v5e-256', 'v5litepod-256', 'v4-32', ...

  Raises:
    ConfigError: there is no such slice.
  """
  found = re.fullmatch(r'([a-z0-9]+)(?:-(\d+)|:(\d+(?:x\d+)*))', text)
  generation = found and _ALIASES.get(found[1], found[1])
  if generation not in _TPUS:
    raise errors.ConfigError(
      f'{text!r} is no slice of TPUs: write GENERATION:SHAPE such as '
      f'v5e:16x16, or a name such as v4-32; generations are {", ".join(_TPUS)}'
    )
  sizes, count, shape = _SIZES[generation], found[2], found[3]
  if count is not None and int(count) not in sizes:
    names = ', '.join(f'{generation}-{size}' for size in sizes)
    raise errors.ConfigError(f'{text!r} is no slice of TPUs: there are {names}')
  sides = tuple(map(int, (shape or sizes[int(count)]).split('x')))
  rank = sizes[8].count('x') + 1
  if len(sides) != rank or not all(sides):
    raise errors.ConfigError(
      f'{text!r}: a slice of {generation} has {rank} sides, such as '
      f'{generation}:{sizes[8]}'
    )
  return Slice(generation=generation, shape=sides)


def of_kind(kind: str) -> Chip | None:
  """Returns what a device can do; None where that is not known, as of CPUs.

  Args:
    kind: as a jax device spells it, such as 'TPU v5 lite'.
  """
  for chip in (*_TPUS.values(), *_GPUS):
    if re.fullmatch(chip.kind, kind):
      return chip
  return None


def chips(devices: Sequence[jax.Device]) -> int:
  """Counts chips: devices at the same place of the same slice are one."""
  return len({_place(device) for device in devices})


def _place(device: jax.Device) -> tuple[object, ...]:
  coords = getattr(device, 'coords', None)
  if coords is None:  # not a TPU: every device is a chip
    return (device.id,)
  return getattr(device, 'slice_index', 0), *coords
