"""Names for what functions take and return.

Importing this module imports no jax: the aliases are documentation, and
`difjax --help` stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Array = Any  # jax.Array or numpy.ndarray
Key = Any  # a typed jax.random key, or an array of them
PyTree = Any
Params = PyTree
Shape = tuple[int, ...]
Batch = Mapping[str, Array]  # image [B, H, W, C], label [B], ...
Cond = Mapping[str, Array] | None  # an absent key, or label -1: no condition
Metrics = Mapping[str, Array]
Schedule = Callable[[Array], Array]
