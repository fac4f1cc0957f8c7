"""The job of `difjax sample`, from plain data: a run, specs, where to write."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from difjax import config as configs
from difjax import errors
from difjax.evaluation import controlled, samples, trained
from difjax.sampling import samplers

Spec = Mapping[str, Any]


def draw(
  workdir: pathlib.Path,
  out: pathlib.Path,
  *,
  sampler: Spec,
  leads: Mapping[str, Spec],
  ema: str = 'main',
  num: int = 64,
  first: int = 0,
  seed: int = 0,
  labels: Sequence[int] = (),
  size: int = 64,
  coupled: bool = False,
  trust: tuple[str, ...] = (),
) -> None:
  """Samples a trained model to a folder.

  Args:
    workdir: of the run.
    out: the folder.
    sampler: spec of how to sample.
    leads: specs by name: of guides, applied in this order, and under
      `restore` of a `controlled.Restoration`.
    ema: which average of the parameters; '' for the raw ones.
    num: how many images.
    first: the first one's index.
    seed: of the set.
    labels: classes in turn; all of them when empty.
    size: images in a block.
    coupled: whether the images of a block may depend on each other.
    trust: packages whose names saved configs and specs may use.

  Raises:
    ConfigError: a spec does not build, or does not fit the run.
    CheckpointError: there is no checkpoint that can be read.
    NonFiniteError: an image has values that are not finite.
  """
  led, way = prepared(
    workdir, sampler=sampler, leads=leads, ema=ema, labelled=bool(labels),
    coupled=coupled, trust=trust,
  )  # fmt: skip
  samples.write(
    led.model, way, out, num=num, first=first, seed=seed, labels=labels,
    mean=led.mean, size=size, picture=led.picture,
  )  # fmt: skip


def prepared(
  workdir: pathlib.Path,
  *,
  sampler: Spec,
  leads: Mapping[str, Spec],
  ema: str = 'main',
  labelled: bool = False,
  coupled: bool = False,
  trust: tuple[str, ...] = (),
) -> tuple[controlled.Led, samplers.Sampler]:
  """Loads a trained model, and builds what leads it and samples from it.

  Args:
    workdir: of the run.
    sampler: as for `draw`.
    leads: as for `draw`.
    ema: which average of the parameters; '' for the raw ones.
    labelled: whether classes were asked for.
    coupled: whether the images of a block may depend on each other.
    trust: packages whose names saved configs and specs may use.

  Raises:
    ConfigError: a spec does not build, or does not fit the run.
    CheckpointError: there is no checkpoint that can be read.
  """
  build = lambda spec, path: configs.build(
    spec, path=path, trusted=False, trust=trust
  )
  model = trained.load(workdir, ema=ema, trust=trust, needs='denoiser')
  if 'type' not in sampler:
    raise errors.ConfigError(
      f'the config of {workdir} has no sampler: add --sampler.type=...'
    )
  way = build(sampler, 'sampler')
  if not coupled:
    samples.check_independent(way)
  built = {name: build(spec, name) for name, spec in leads.items()}
  restore = built.pop('restore', None)
  led = controlled.lead(
    model, [*built.values()], restore, labelled=labelled, trust=trust
  )
  return led, way
