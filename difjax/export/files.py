"""The jobs of `difjax export`, from plain data: a run, specs, places."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from difjax import errors, pytree
from difjax.evaluation import job, trained
from difjax.export import official, stablehlo

Spec = Mapping[str, Any]


def sampler(
  workdir: pathlib.Path,
  out: pathlib.Path,
  *,
  sampler: Spec,
  leads: Mapping[str, Spec],
  ema: str = 'main',
  step: int | None = None,
  batch: int | None = None,
  platforms: Sequence[str] = stablehlo.PLATFORMS,
  coupled: bool = False,
  trust: tuple[str, ...] = (),
) -> None:
  """Closes a trained model and a way to sample from it into one file.

  Args:
    workdir: of the run.
    out: the file.
    sampler: spec of how to sample.
    leads: specs of what leads the model, as for `job.draw`.
    ema: which average of the parameters; '' for the raw ones.
    step: of the checkpoint; None for the newest.
    batch: images of a call; None for any number of them.
    platforms: kinds of devices that it may run on.
    coupled: whether the images of a batch may depend on each other.
    trust: packages whose names saved configs and specs may use.

  Raises:
    ConfigError: a spec does not build, or has no program.
    CheckpointError: there is no checkpoint that can be read.
  """
  _check_platforms(platforms)
  led, way = job.prepared(
    workdir, job.Wanted(ema=ema, step=step), sampler=sampler, leads=leads,
    coupled=coupled, trust=trust,
  )  # fmt: skip
  exported = stablehlo.program(led, way, batch=batch, platforms=platforms)
  facts = {'ema': ema, 'sampler': sampler, 'leads': leads}
  stablehlo.write(out, led, exported, facts)


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
    ConfigError: there is no such average, or the family has no such model.
    CheckpointError: there is no checkpoint that can be read.
  """
  model = trained.load(workdir, ema=ema, step=step, trust=trust)
  remarks = {'step': str(model.step), 'ema': ema, 'format': 'difjax'}
  if family is None:
    arrays = dict(pytree.named_leaves(model.params))
  else:
    arrays, config = official.state_dict(family, model)
    remarks |= {'format': 'pt', 'family': family, 'config': json.dumps(config)}
  stablehlo.write_parameters(out, arrays, remarks)


def _check_platforms(platforms: Sequence[str]) -> None:
  unknown = sorted(set(platforms) - set(stablehlo.PLATFORMS))
  if unknown or not platforms:
    raise errors.ConfigError(
      f'--platforms={",".join(platforms)}: give some of '
      f'{", ".join(stablehlo.PLATFORMS)}'
    )
