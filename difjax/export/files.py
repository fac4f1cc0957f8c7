"""The jobs of `difjax export`, from plain data: a run, specs, places."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from difjax import errors, pytree
from difjax.evaluation import job, trained
from difjax.export import archive, official, stablehlo

Spec = Mapping[str, Any]


def sampler(
  workdir: pathlib.Path,
  out: pathlib.Path,
  wanted: job.Wanted,
  *,
  sampler: Spec,
  leads: Mapping[str, Spec],
  general: bool = True,
  platforms: Sequence[str] = tuple(stablehlo.BACKENDS),
  coupled: bool = False,
  trust: tuple[str, ...] = (),
) -> None:
  """Closes a trained model and a way to sample from it into one file.

  Args:
    workdir: of the run.
    out: the file.
    wanted: of which parameters, and how many images a block has.
    sampler: spec of how to sample.
    leads: specs of what leads the model, as for `job.draw`.
    general: whether there is a program for any number of images and all
      platforms, beside that of each platform for a block.
    platforms: kinds of devices that it is to run on.
    coupled: whether the images of a batch may depend on each other.
    trust: packages whose names saved configs and specs may use.

  Raises:
    ConfigError: a spec does not build, or has no program, or `out` is a
      folder.
    CheckpointError: there is no checkpoint that can be read.
  """
  _check_file(out)
  _check_platforms(platforms)
  led, way = job.prepared(
    workdir, wanted, sampler=sampler, leads=leads, coupled=coupled, trust=trust
  )
  programs = {
    stablehlo.BACKENDS[each]: stablehlo.program(
      led, way, batch=wanted.size, platforms=[each]
    )
    for each in platforms
  }
  if general:
    programs[archive.ANY] = stablehlo.program(led, way, platforms=platforms)
  facts = {'ema': wanted.ema, 'sampler': sampler, 'leads': leads}
  archive.save(out, led, programs, facts)


def parameters(
  workdir: pathlib.Path,
  out: pathlib.Path,
  *,
  family: str | None = None,
  ema: str = 'main',
  step: int | None = None,
  trust: tuple[str, ...] = (),
) -> None:
  """Writes a trained model's parameters as safetensors.

  Args:
    workdir: of the run.
    out: the file.
    family: whose names and axes they are to have; None for ours.
    ema: which average of the parameters; '' for the raw ones.
    step: of the checkpoint; None for the newest.
    trust: packages whose names the saved config may use.

  Raises:
    ConfigError: there is no such average, or the family has no such model, or
      `out` is a folder.
    CheckpointError: there is no checkpoint that can be read.
  """
  _check_file(out)
  model = trained.load(workdir, ema=ema, step=step, trust=trust)
  remarks = {'step': str(model.step), 'ema': ema, 'format': 'difjax'}
  if family is None:
    arrays = dict(pytree.named_leaves(model.params))
  else:
    arrays, config = official.state_dict(family, model)
    remarks |= {'format': 'pt', 'family': family, 'config': json.dumps(config)}
  archive.save_parameters(out, arrays, remarks)


def _check_file(out: pathlib.Path) -> None:
  if out.is_dir():
    raise errors.ConfigError(
      f'{out} is a folder: give the file to write, such as {out}/exported'
    )


def _check_platforms(platforms: Sequence[str]) -> None:
  unknown = sorted(set(platforms) - set(stablehlo.BACKENDS))
  if unknown or not platforms:
    raise errors.ConfigError(
      f'--platforms={",".join(platforms)}: give some of '
      f'{", ".join(stablehlo.BACKENDS)}'
    )
