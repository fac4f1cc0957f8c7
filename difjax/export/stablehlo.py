"""A sampler and its parameters in one file that runs without difjax.

The file is a zip archive without compression, of

- `sampler.jax`, which `jax.export` has made: StableHLO for several platforms
  and any batch size, run(params, seed, indices, labels) -> x;
- `params.safetensors`, the arguments `params` by name: no number of theirs is
  in the program, which stays small however large they are;
- `card.json`, which says what these are.

The numbers of the parameters begin at a multiple of 64 bytes of the file, so
that mapping it into memory reads them without a copy. To call the program is
to run arithmetic of XLA and nothing else: unlike a pickle it names no code.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
from jax import export

import difjax
from difjax import errors, pytree
from difjax.evaluation import controlled, samples
from difjax.interop import safetensors_file
from difjax.sampling import samplers
from difjax.typing import Array

PROGRAM, PARAMETERS, CARD = 'sampler.jax', 'params.safetensors', 'card.json'
PLATFORMS = ('cpu', 'cuda', 'tpu')
_ALIGNMENT = 64
_LOCAL, _ZIP64, _FIELD = 30, 20, 4  # bytes of a member's header and its extras
_PADDING = 0xD935  # the extra field that others pad by too
_HOW = (
  'x = run(params, seed, indices, labels): params by name; seed uint32 []; '
  'indices int32 [B]; labels int32 [B], ignored where num_classes is 0; '
  'x float32 [B, *shape] in about [-1, 1].'
)
_SEEDS = (
  'Image i of a seed depends on seed, i and its label alone, not on those '
  'beside it. difjax sample takes label i mod num_classes by default, and '
  '64 indices at a time; with that batch size the bytes are its bytes.'
)
_BYTES = 'uint8(clip(127.5 x + 128, 0, 255)) in float32'


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
  platforms: Sequence[str] = PLATFORMS,
) -> export.Exported:
  """Lowers a sampler to StableHLO.

  Args:
    led: what to sample from; of its parameters only shapes are read.
    sampler: how to sample.
    batch: images of a call; None for any number of them.
    platforms: kinds of devices that it may run on.

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
  except NotImplementedError as error:
    raise errors.ConfigError(
      f'the sampler cannot be exported: {_line(error)}'
    ) from error
  except (TypeError, ValueError) as error:
    hint = '; a fixed --batch=N may do' if batch is None else ''
    raise errors.ConfigError(
      f'the sampler cannot be exported: {_line(error)}{hint}'
    ) from error


def _line(error: Exception) -> str:
  return ' '.join(str(error).split())[:160]


def write(
  file: pathlib.Path,
  led: controlled.Led,
  exported: export.Exported,
  facts: Mapping[str, Any],
) -> None:
  """Writes the file; what stands in its place is replaced once it is whole.

  Args:
    file: its path.
    led: what is sampled from.
    exported: what `program` gave.
    facts: plain data on where they are from, for the card.

  Raises:
    ConfigError: flatbuffers is not installed, by which programs are written.
  """
  try:
    lowered = exported.serialize()
  except ImportError as error:
    raise errors.ConfigError(
      'an exported program needs flatbuffers: pip install flatbuffers'
    ) from error
  params = arguments(led)
  text = json.dumps(_card(led, exported, params, facts), indent=1)
  with _replacing(file) as stream, zipfile.ZipFile(stream, 'w') as archive:
    archive.writestr(zipfile.ZipInfo(CARD), text + '\n')
    archive.writestr(zipfile.ZipInfo(PROGRAM), bytes(lowered))
    info = zipfile.ZipInfo(PARAMETERS)
    info.extra = _padding(stream.tell(), PARAMETERS)
    with archive.open(info, 'w', force_zip64=True) as member:
      safetensors_file.write(member, params)


def write_parameters(
  file: pathlib.Path,
  params: Mapping[str, Array],
  remarks: Mapping[str, str],
) -> None:
  """Writes parameters by name as one file of safetensors.

  Args:
    file: its path; what stands there is replaced once the file is whole.
    params: arrays by name.
    remarks: texts by name.
  """
  with _replacing(file) as stream:
    safetensors_file.write(stream, params, remarks)


def _card(
  led: controlled.Led,
  exported: export.Exported,
  params: Mapping[str, Array],
  facts: Mapping[str, Any],
) -> dict[str, Any]:
  """Says what is in the file."""
  model = led.model
  (batch,) = exported.in_avals[-1].shape
  return {
    'format': 'difjax sampler', 'version': 1, 'call': _HOW, 'seeds': _SEEDS,
    'bytes': _BYTES, 'shape': list(model.shape),
    'num_classes': model.num_classes, 'class_names': list(model.class_names),
    'batch': batch if isinstance(batch, int) else None,
    'platforms': list(exported.platforms),
    'calling_convention': exported.calling_convention_version,
    'jax': jax.__version__, 'difjax': difjax.__version__, 'step': model.step,
    **facts,
    'params': {
      name: {'dtype': leaf.dtype.name, 'shape': list(leaf.shape)}
      for name, leaf in sorted(params.items())
    },
  }  # fmt: skip


def _padding(place: int, name: str) -> bytes:
  """Returns an extra field, so that a member's bytes begin aligned.

  Args:
    place: of its header in the file.
    name: the member's.
  """
  start = place + _LOCAL + len(name) + _ZIP64 + _FIELD
  size = -start % _ALIGNMENT
  words = (_PADDING, size)
  return b''.join(w.to_bytes(2, 'little') for w in words) + bytes(size)


@contextlib.contextmanager
def _replacing(file: pathlib.Path) -> Iterator[BinaryIO]:
  """Opens a file that takes its place when it is whole."""
  file = file.absolute()
  file.parent.mkdir(parents=True, exist_ok=True)
  handle, partial = tempfile.mkstemp(prefix=f'.{file.name}.', dir=file.parent)
  try:
    with os.fdopen(handle, 'wb') as stream:
      yield stream
    pathlib.Path(partial).chmod(0o666 & ~_umask())
    pathlib.Path(partial).replace(file)
  except BaseException:
    pathlib.Path(partial).unlink(missing_ok=True)
    raise


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask
