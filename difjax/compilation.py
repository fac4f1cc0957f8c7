"""How XLA is told to compile what trains, samples and extracts features.

On CPUs jax 0.10 hands convolutions and products of matrices to YNNPACK. Eigen,
which did them before, takes between a half and a sixth of its time for the
convolutions of Inception without padding, and no longer for the rest. YNNPACK
keeps the sums, at which it is the faster.
"""

from __future__ import annotations

import types
from typing import Final

import jax

OPTIONS: Final = types.MappingProxyType({
  'cpu': types.MappingProxyType({
    'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE',
  }),
})


def options() -> dict[str, str]:
  """Returns `compiler_options` of `jax.jit` for the default backend."""
  return dict(OPTIONS.get(jax.default_backend(), {}))
