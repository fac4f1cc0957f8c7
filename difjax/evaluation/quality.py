"""Samples against held-out images, in the features of a learnt classifier.

The Fréchet distance says whether mean and covariance of the features are
right. It depends on how many images are compared, so beside that of the
samples stands that of as many training images: what perfect samples reach, on
the mean of several draws.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax import metrics
from difjax.data import source as sources
from difjax.evaluation import (
  baselines,
  distribution,
  parts,
  plots,
  trained,
)
from difjax.sampling import samplers

_SHOWN, _COLUMNS = 100, 10  # samples in the picture
_DRAWS = 10  # of training images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
  """Judges what a sampler makes of a trained model.

  Attributes:
    sampler: what is judged.
    train: labelled images, which the classifier learns from.
    held_out: labelled images that nothing was trained on.
    images: how many samples.
    size: images in a block.
    seed: of the samples and of the classifier.
  """

  sampler: samplers.Sampler
  train: sources.Source
  held_out: sources.Source
  images: int = 1_000
  size: int = 128
  seed: int = 0

  def __call__(self, model: trained.Trained) -> parts.Found:
    """Samples, and compares.

    Raises:
      NonFiniteError: a sample is not finite.
    """
    made, evaluations, seconds = parts.sampled(
      model, self.sampler, self.images, size=self.size, seed=self.seed
    )
    figures = {
      'frechet_distance': self._distance(made),
      'frechet_distance_of_training_images': self._floor(),
      'accuracy_of_the_classifier': self._accuracy(),
      'images': self.images,
      'evaluations_mean': float(evaluations.mean()),
      'evaluations_max': int(evaluations.max()),
      'seconds': seconds,
    }
    return parts.Found(
      figures, {'samples': made}, {'grid': plots.grid(made[:_SHOWN], _COLUMNS)}
    )

  def _floor(self) -> float:
    """The mean distance of as many training images as there are samples."""
    rng = np.random.default_rng(self.seed)
    whole = baselines.labelled(self.train)
    draws = (whole.draw(self.images, rng).images for _ in range(_DRAWS))
    return float(np.mean([self._distance(images) for images in draws]))

  def _distance(self, images: np.ndarray) -> float:
    known = distribution.classifier(self.train, self.seed)
    gaussian = lambda images: metrics.Moments.of(
      known.features(distribution.pixels(images))
    ).gaussian
    new = baselines.labelled(self.held_out).images
    return metrics.frechet_distance(gaussian(images), gaussian(new))

  def _accuracy(self) -> float:
    new = baselines.labelled(self.held_out)
    known = distribution.classifier(self.train, self.seed)
    found = known.labels(distribution.pixels(new.images))
    return float((found == new.labels).mean())
