"""A sampler and its parameters in one file that runs without difjax.

The file is a zip archive without compression, of

- programs, which `jax.export` has made: StableHLO of run(params, seed, indices,
  labels) -> x. Those of one backend of JAX, such as `cpu.jax`, are for as many
  images as `difjax sample` draws at once, and give its bits; `sampler.jax` is
  for any number of them and several platforms;
- `params.safetensors`, the arrays `params` by name: no number of theirs is in a
  program, which stays small however large they are;
- `card.json`, which says what these are, and lists the parameters in the order
  in which their numbers follow each other.

Nothing in it is a pickle, and the programs name no Python.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np
from jax import export

import difjax
from difjax import compilation, errors
from difjax.evaluation import controlled
from difjax.export import stablehlo
from difjax.interop import container, safetensors_file
from difjax.typing import Array

PARAMETERS, CARD = 'params.safetensors', 'card.json'
ANY = 'sampler'  # the program for any number of images
_SUFFIX = '.jax'
_FORMAT, _VERSION = 'difjax sampler', 1
_DATE = (1980, 1, 1, 0, 0, 0)  # the least that a zip can say
_HOW = (
  'x = run(params, seed, indices, labels): params by name; seed uint32 []; '
  'indices int32 [B]; labels int32 [B], ignored where num_classes is 0; '
  'x float32 [B, *shape] in about [-1, 1].'
)
_SEEDS = (
  'Image i of a seed depends on seed, i and its label alone, not on those '
  'beside it; difjax sample takes label i mod num_classes by default. The '
  'program of a backend gives the bits of difjax sample with its batch as '
  '--block, on the same device with the same jax, compiled with the options '
  'under xla; sampler.jax about the same.'
)
_ROUNDING = 'uint8(clip(127.5 x + 128, 0, 255)) in float32'


class Sampler(NamedTuple):
  """What a file holds.

  Attributes:
    programs: by name, 'cpu', 'gpu', 'tpu' or `ANY`; their `call` is (params,
      seed uint32 [], indices int32 [B], labels int32 [B]) ->
      x float32 [B, *shape].
    params: arrays by name.
    card: what the file says of them.
  """

  programs: dict[str, export.Exported]
  params: dict[str, np.ndarray]
  card: dict[str, Any]


def save(
  file: pathlib.Path,
  led: controlled.Led,
  programs: Mapping[str, export.Exported],
  facts: Mapping[str, Any],
) -> None:
  """Writes the file; what stands in its place is replaced once it is whole.

  Args:
    file: its path.
    led: what is sampled from.
    programs: what `stablehlo.program` gave, by name.
    facts: plain data on where they are from, for the card.

  Raises:
    ConfigError: flatbuffers is not installed, by which programs are written.
  """
  try:
    codes = {name: each.serialize() for name, each in programs.items()}
  except ImportError as error:
    raise errors.ConfigError(
      'an exported program needs flatbuffers: pip install flatbuffers'
    ) from error
  params = safetensors_file.ordered(stablehlo.arguments(led))
  text = json.dumps(_card(led, programs, params, facts), indent=1)
  member = lambda name: zipfile.ZipInfo(name, _DATE)
  with _replacing(file) as stream, zipfile.ZipFile(stream, 'w') as archive:
    archive.writestr(member(CARD), text + '\n')
    for name, code in codes.items():
      archive.writestr(member(name + _SUFFIX), bytes(code))
    with archive.open(member(PARAMETERS), 'w', force_zip64=True) as inside:
      safetensors_file.write(inside, params)


def load(file: pathlib.Path) -> Sampler:
  """Reads what `save` wrote.

  Raises:
    CheckpointError: the file is missing, damaged or another; one line.
  """
  with container.told_of(file), zipfile.ZipFile(file) as archive:
    card = json.loads(archive.read(CARD))
    if (card['format'], card['version']) != (_FORMAT, _VERSION):
      raise errors.CheckpointError(
        f'its format is {card["format"]!r}, version {card["version"]}, not '
        f'{_FORMAT!r}, version {_VERSION}: export it again'
      )
    with archive.open(PARAMETERS) as member:
      params = safetensors_file.read(member)
    programs = {
      name: export.deserialize(bytearray(archive.read(name + _SUFFIX)))
      for name in card['programs']
    }
    for exported in programs.values():
      _check(exported, params)
  return Sampler(programs, params, card)


def save_parameters(
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
  programs: Mapping[str, export.Exported],
  params: Mapping[str, Array],
  facts: Mapping[str, Any],
) -> dict[str, Any]:
  """Says what is in the file."""
  model = led.model
  return {
    'format': _FORMAT, 'version': _VERSION, 'call': _HOW, 'seeds': _SEEDS,
    'rounding': _ROUNDING, 'shape': list(model.shape),
    'num_classes': model.num_classes, 'class_names': list(model.class_names),
    'programs': {name: _terms(each) for name, each in programs.items()},
    'xla': {
      name: dict(compilation.OPTIONS.get(name, {}))
      for name in stablehlo.BACKENDS.values()
    },
    'jax': jax.__version__, 'difjax': difjax.__version__, 'step': model.step,
    **facts,
    'params': {
      name: {
        'dtype': leaf.dtype.name, 'shape': list(leaf.shape),
        'bytes': leaf.nbytes,
      }
      for name, leaf in params.items()
    },
  }  # fmt: skip


def _terms(exported: export.Exported) -> dict[str, Any]:
  """Says what a program is for; its batch is None where any will do."""
  (batch,) = exported.in_avals[-1].shape
  return {
    'batch': batch if isinstance(batch, int) else None,
    'platforms': list(exported.platforms),
    'calling_convention': exported.calling_convention_version,
  }


def _check(
  exported: export.Exported, params: Mapping[str, np.ndarray]
) -> None:
  """Refuses parameters that are not those of the program.

  Raises:
    CheckpointError: one is missing, surplus, or of another shape or type.
  """
  (wanted, *_), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
  for name in sorted(wanted.keys() | params.keys()):
    theirs, found = (
      f'{each[name].dtype} {each[name].shape}' if name in each else 'nothing'
      for each in (wanted, params)
    )
    if theirs != found:
      raise errors.CheckpointError(
        f'a program takes {theirs} as {name!r}; there is {found}'
      )


@contextlib.contextmanager
def _replacing(file: pathlib.Path) -> Iterator[BinaryIO]:
  """Opens a file that takes its place when it is whole."""
  file.parent.mkdir(parents=True, exist_ok=True)
  partial = file.with_name(f'.{file.name}.{uuid.uuid4().hex[:12]}')
  try:
    with partial.open('wb') as stream:
      yield stream
    partial.replace(file)
  finally:
    partial.unlink(missing_ok=True)
