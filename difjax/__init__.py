"""difjax: diffusion models in JAX.

Packages are loaded when first used, so that `import difjax` imports no jax.
"""

from __future__ import annotations

import importlib
import types

__version__ = '0.1.0'
_PACKAGES = (
  'data', 'denoising', 'evaluation', 'interop', 'metrics', 'networks',
  'objectives', 'processes', 'sampling', 'training',
)  # fmt: skip
__all__ = ['__version__', *_PACKAGES]


def __getattr__(name: str) -> types.ModuleType:
  """Loads a package of difjax on first use (PEP 562)."""
  if name in _PACKAGES:
    return importlib.import_module(f'difjax.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted(__all__)
