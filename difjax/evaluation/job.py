"""The job of `difjax sample`, from plain data: a run, specs, where to write."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from difjax import config as configs
from difjax import errors
from difjax.evaluation import (
  controlled,
  plots,
  quantisers,
  sample_formats,
  sample_set,
  samples,
  trained,
)
from difjax.sampling import samplers
from difjax.training import distributed

Spec = Mapping[str, Any]
_LISTED = 1000  # labels that a protocol spells; of more it has a digest
_POLL = 0.5  # seconds between two looks for the files of the first process


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
  """Which images of which parameters are wanted, and as which bytes.

  Attributes:
    ema: which average of the parameters; '' for the raw ones.
    step: of the checkpoint; None for the newest.
    num: how many images.
    first: the first one's index.
    seed: of the set.
    labels: classes in turn; all of them when empty.
    size: images in a block.
    quantiser: name of one of `quantisers`.
  """

  ema: str = 'main'
  step: int | None = None
  num: int = 64
  first: int = 0
  seed: int = 0
  labels: Sequence[int] = ()
  size: int = 64
  quantiser: str = 'edm'


def draw(
  workdir: pathlib.Path,
  out: pathlib.Path,
  wanted: Wanted,
  *,
  sampler: Spec,
  leads: Mapping[str, Spec],
  formats: Sequence[str] = ('png', 'grid', 'npz'),
  coupled: bool = False,
  trust: tuple[str, ...] = (),
) -> None:
  """Samples a trained model to a folder, or goes on where that was stopped.

  Every process of a job calls it.

  Args:
    workdir: of the run.
    out: the folder.
    wanted: which images.
    sampler: spec of how to sample.
    leads: specs by name: of guides, applied in this order, and under
      `restore` of a `controlled.Restoration`.
    formats: names of `sample_formats`.
    coupled: whether the images of a block may depend on each other.
    trust: packages whose names saved configs and specs may use.

  Raises:
    ConfigError: a spec does not build, or does not fit the run; the folder
      holds other files, or samples of another protocol.
    CheckpointError: there is no checkpoint that can be read.
    NonFiniteError: an image has values that are not finite.
  """
  quantise = quantisers.named(wanted.quantiser)
  led, way = prepared(
    workdir, wanted, sampler=sampler, leads=leads, coupled=coupled, trust=trust
  )
  sample_formats.check(formats, led.model.shape[-1])
  given = samples.in_turn(wanted.labels, led.model.num_classes)
  found = _begun(out, led.model, wanted, protocol(
    led.model, wanted, sampler, leads
  ))  # fmt: skip
  samples.fill(
    found, led.model.objective, way, led.model.params, labels=given,
    mean=led.mean, seed=wanted.seed, quantise=quantise,
    part=jax.process_index(), parts=jax.process_count(),
  )  # fmt: skip
  _close(found, formats, led.picture)


def prepared(
  workdir: pathlib.Path,
  wanted: Wanted,
  *,
  sampler: Spec,
  leads: Mapping[str, Spec],
  coupled: bool = False,
  trust: tuple[str, ...] = (),
) -> tuple[controlled.Led, samplers.Sampler]:
  """Loads a trained model, led by what specs say, and how to sample from it.

  Args:
    workdir: of the run.
    wanted: which images.
    sampler: spec of how to sample.
    leads: specs of what leads the model, as for `draw`.
    coupled: whether the images of a block may depend on each other.
    trust: packages whose names saved configs and specs may use.

  Raises:
    ConfigError: a spec does not build, or does not fit the run.
    CheckpointError: there is no checkpoint that can be read.
  """
  model = trained.load(
    workdir, ema=wanted.ema, trust=trust, needs='denoiser', step=wanted.step
  )
  way = _sampler(workdir, sampler, coupled, trust)
  return _led(model, leads, bool(wanted.labels), trust), way


def protocol(
  model: trained.Trained,
  wanted: Wanted,
  sampler: Spec,
  leads: Mapping[str, Spec],
) -> dict[str, Any]:
  """Returns all that images depend on beside their indices, as JSON has it.

  Args:
    model: what is sampled, as it is led.
    wanted: which images.
    sampler: spec of how to sample.
    leads: specs of what leads the model.
  """
  here = jax.local_devices()[0]
  numbers = jax.device_get(jax.tree.leaves(model.params))
  return {
    'scheme': sample_set.SCHEME,
    'objective': sample_set.digest(model.config['objective']),
    'step': model.step,
    'ema': wanted.ema,
    'parameters': sample_set.digest(*numbers),
    'sampler': sampler,
    'guidance': leads,
    'seed': wanted.seed,
    'num': wanted.num,
    'first': wanted.first,
    'block': wanted.size,
    'quantiser': wanted.quantiser,
    'labels': _spelled(wanted.labels, model.num_classes),
    'device': f'{here.platform} {here.device_kind}',
    'jax': jax.__version__,
    'matmul_precision': jax.config.jax_default_matmul_precision,
    'threefry_partitionable': jax.config.jax_threefry_partitionable,
  }


def _begun(
  out: pathlib.Path,
  model: trained.Trained,
  wanted: Wanted,
  told: Mapping[str, Any],
) -> sample_set.SampleSet:
  """Begins a set of a protocol, or finds it as it was left.

  Raises:
    ConfigError: the folder holds other files, or another protocol's samples.
  """
  found = sample_set.SampleSet(
    folder=out, shape=model.shape, num=wanted.num, first=wanted.first,
    size=wanted.size, num_classes=model.num_classes,
    class_names=model.class_names, labelled=bool(model.num_classes),
    protocol=told,
  )  # fmt: skip
  found.begin()
  return found


def _sampler(
  workdir: pathlib.Path, spec: Spec, coupled: bool, trust: tuple[str, ...]
) -> samplers.Sampler:
  """Builds how to sample.

  Raises:
    ConfigError: it does not build, or couples images and may not.
  """
  if 'type' not in spec:
    raise errors.ConfigError(
      f'the config of {workdir} has no sampler: add --sampler.type=...'
    )
  way = configs.build(spec, path='sampler', trusted=False, trust=trust)
  if not coupled:
    samples.check_independent(way)
  return way


def _led(
  model: trained.Trained,
  leads: Mapping[str, Spec],
  labelled: bool,
  trust: tuple[str, ...],
) -> controlled.Led:
  """Leads a model by what specs say.

  Raises:
    ConfigError: a spec does not build, or does not fit the model.
  """
  built = {
    name: configs.build(spec, path=name, trusted=False, trust=trust)
    for name, spec in leads.items()
  }
  restore = built.pop('restore', None)
  return controlled.lead(
    model, [*built.values()], restore, labelled=labelled, trust=trust
  )


def _spelled(labels: Sequence[int], num_classes: int) -> Any:
  """Returns what a protocol says of labels."""
  if not num_classes:
    return None
  if len(labels) > _LISTED:
    return sample_set.digest(list(labels))
  return list(labels) or 'all in turn'


def _close(
  found: sample_set.SampleSet,
  formats: Sequence[str],
  picture: np.ndarray | None,
) -> None:
  """Writes the formats once all blocks are there; the others wait for it.

  They look for files instead of meeting at a barrier, in which a process that
  is done early would wait too long for the collectives of some platforms, and
  leave together: jax takes a process that left before the others for lost.
  """
  if not distributed.is_first():
    while not found.finished() or sample_formats.missing(found, formats):
      time.sleep(_POLL)
    return
  found.wait()
  if not found.finished():
    found.finish()
  if picture is not None:
    plots.save_png(found.folder / 'measurement.png', picture)
  sample_formats.write(found, formats)
  count = found.finished()['evaluations']
  print(
    f'{found.num} images, {count["mean"]:.1f} network evaluations each '
    f'(at most {count["most"]})'
  )
