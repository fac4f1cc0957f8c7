"""A sampler as a program of its own, which takes its parameters as arguments.

What `difjax sample` compiles for a block is lowered to StableHLO. A program
for one platform and one number of images gives the bits of that block. One for
several platforms and any number does not: where they are told apart, and where
sizes are computed, the compiler fuses other operations, which moves floats in
their last digits, and a byte where it is near the next level.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import export

from difjax import errors, pytree
from difjax.evaluation import controlled, samples
from difjax.sampling import samplers
from difjax.typing import Array

BACKENDS = types.MappingProxyType(  # JAX's names of platforms and backends
  {'cpu': 'cpu', 'cuda': 'gpu', 'tpu': 'tpu'}
)


def arguments(led: controlled.Led) -> dict[str, Array]:
  """Returns what the program takes as `params`: arrays by name."""
  mean = jnp.asarray(led.mean, jnp.float32)
  tree = {'mean': mean, 'model': led.model.params}
  return dict(pytree.named_leaves(tree))


def program(
  led: controlled.Led,
  sampler: samplers.Sampler,
  *,
  batch: int | None = None,
  platforms: Sequence[str] = tuple(BACKENDS),
) -> export.Exported:
  """Lowers a sampler to StableHLO.

  Args:
    led: what to sample from; of its parameters only shapes are read.
    sampler: how to sample.
    batch: images of a call; None for any number of them.
    platforms: kinds of devices that it may run on.

  Returns:
    (params by name, seed uint32 [], indices int32 [B], labels int32 [B]) ->
    x float32 [B, H, W, C].

  Raises:
    ConfigError: JAX has no such program.
  """
  model = led.model
  named = arguments(led)
  tree = jax.tree.structure({'mean': 0, 'model': model.params})

  def run(
    params: Mapping[str, Array], seed: Array, indices: Array, labels: Array
  ) -> Array:
    found = jax.tree.unflatten(tree, [params[name] for name in named])
    x, _ = samples.block(
      found['model'], seed, indices, labels if model.num_classes else None,
      found['mean'], objective=model.objective, sampler=sampler,
      shape=model.shape,
    )  # fmt: skip
    return x

  struct = jax.ShapeDtypeStruct
  try:
    (count,) = export.symbolic_shape('b') if batch is None else (batch,)
    one_each = struct((count,), jnp.int32)
    return export.export(jax.jit(run), platforms=tuple(platforms))(
      {name: struct(leaf.shape, leaf.dtype) for name, leaf in named.items()},
      struct((), jnp.uint32), one_each, one_each,
    )  # fmt: skip
  except (NotImplementedError, TypeError, ValueError) as error:
    reason = ' '.join(str(error).split())[:160]
    hint = '' if batch else ' for any number of images (--noany leaves that)'
    raise errors.ConfigError(
      f'the sampler cannot be exported{hint}: {reason}'
    ) from error
