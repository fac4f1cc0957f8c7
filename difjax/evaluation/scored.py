"""Figures of merit while a run trains, from its average, beside the loss."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from difjax import errors
from difjax.data import source as sources
from difjax.evaluation import (
  feature_nets,
  figures,
  image_set,
  references,
  samples,
  scoring,
)
from difjax.sampling import samplers
from difjax.training import hooks, state
from difjax.typing import Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
  """A hook that scores the same noise's images as training goes on.

  Raises ConfigError where it is made of no or of two references, and DataError
  where the reference or the network's file is not there.

  Few images give figures that are too large but fall alike: compare them within
  a run, and take those to be published from `difjax evaluate`.

  Attributes:
    sampler: how to sample.
    features: the feature network, such as `interop.Inception`.
    reference: path of images or statistics; '' where `source` is given.
    source: a data set to compare with.
    every: steps between two scores.
    images: how many are sampled.
    size: of a block.
    ema: which average to sample from; '' for the raw parameters.
    seed: of the images.
    figures: their conventions; by default those that take seconds.
  """

  sampler: samplers.Sampler
  features: feature_nets.Network
  reference: str = ''
  source: sources.Source | None = None
  every: int = 10_000
  images: int = 1_000
  size: int = 64
  ema: str = 'main'
  seed: int = 0
  figures: figures.Figures = figures.Figures(
    overlap=0, subsets=10, subset=500, draws=0
  )

  def __post_init__(self) -> None:
    if bool(self.reference) == (self.source is not None):
      raise errors.ConfigError(
        'a hook that scores needs one of reference=PATH and source'
      )
    if self.reference:
      scoring.check_reference(self.reference)
    # What is not there ends no run after hours. The network is loaded again
    # where it is needed: on the first process, once there is an average.
    self.features.load()

  def __call__(
    self, run: hooks.Run, step: int, now: state.TrainState
  ) -> None:
    """Hands figures by name, such as score/fid, to the writers.

    Raises:
      ConfigError: nothing can be sampled from what is trained.
      DataError: the reference or the network's file is missing or malformed.
      NonFiniteError: a sample is not finite.
    """
    samples.on_first(
      run, now, self.ema, lambda params: self._score(run, step, params)
    )

  @functools.cached_property
  def _judge(self) -> scoring.Judge:
    """What is compiled and computed once: the network, and its reference."""
    if self.source is not None:
      reference = references.of_source(self.source)
    else:
      reference = references.read(self.reference)
    return scoring.Judge(
      net=self.features.load(), reference=reference, how=self.figures
    )

  def _score(self, run: hooks.Run, step: int, params: Params) -> None:
    indices = np.arange(self.images)
    classes = run.pipeline.source.num_classes
    made, _ = samples.generate(
      run.objective, self.sampler, params, shape=run.pipeline.shape,
      indices=indices, labels=samples.default_labels(indices, classes),
      seed=self.seed, size=min(self.size, self.images),
    )  # fmt: skip
    found = self._judge.found(image_set.of_array(made))
    values = {
      f'score/{name}': figure.value for name, figure in found.figures.items()
    }
    for writer in run.writers:
      writer.scalars(step, values)
