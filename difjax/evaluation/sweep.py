"""What guidance trades: quality against diversity, by scale."""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax import metrics
from difjax.data import source as sources
from difjax.evaluation import (
  baselines,
  curves,
  distribution,
  guided,
  plots,
  report,
  samples,
  sections,
  trained,
)
from difjax.sampling import samplers


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceSweep:
  """A report's section of samples at growing scales, from the same noise.

  Attributes:
    sampler: how to sample.
    train: labelled images that a classifier learns from; its last layer gives
      the features that samples are compared by.
    guide: what guides; its scale is not used.
    scales: the scales, growing; 1 is the model itself.
    images: how many samples at each scale.
    size: samples in a block.
    shown: how many of them are shown.
    seed: of the samples and of the classifier.
  """

  sampler: samplers.Sampler
  train: sources.Source
  guide: guided.Contrast = guided.ClassifierFree()
  scales: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
  images: int = 500
  size: int = 250
  shown: int = 10
  seed: int = 0

  def __call__(
    self,
    model: trained.Trained,
    held_out: baselines.Labelled,
    draw: sections.Draw,
  ) -> report.Section:
    """Returns a plot against the scale, and the samples themselves."""
    rng = np.random.default_rng(self.seed)
    known = baselines.labelled(self.train)
    count = min(self.images, len(held_out.images), len(known.images))
    judge = distribution.classifier(self.train, self.seed)
    features = lambda of: judge.features(distribution.pixels(of.images))
    real = features(held_out.draw(count, rng))
    copies = features(known.draw(count, rng))
    sets = [self._drawn(model, scale, count) for scale in self.scales]
    found = [features(made) for made in sets]
    overlaps = [metrics.overlap(each, real) for each in found]
    shares = {
      'accuracy': [_accuracy(judge, made) for made in sets],
      'precision': [each.precision for each in overlaps],
      'recall': [each.recall for each in overlaps],
    }
    distances = [_distance(each, real) for each in found]
    figures = [
      draw(
        'guidance_sweep',
        curves.by_scale(self.scales, {
          'share of images': shares,
          'Fréchet distance': {
            'samples': distances, 'training images': _distance(copies, real)
          },
        }),
        f'{count} samples a scale, in the features of a classifier of the '
        'training images. Accuracy is how often it sees the class that was '
        'asked for, precision how often a sample lies among held-out images, '
        'recall how often a held-out image lies among samples.', curves=True,
      ),
      draw(
        'guided_samples', self._panel(model, sets),
        'The first samples at every scale, from the same noise.',
      ),
    ]  # fmt: skip
    return report.Section(
      title='Guidance: quality against diversity',
      text=self._conclusion(shares, distances), figures=figures,
    )  # fmt: skip

  def _drawn(
    self, model: trained.Trained, scale: float, count: int
  ) -> baselines.Labelled:
    """Returns samples at a scale, of classes in turn."""
    led = dataclasses.replace(self.guide, scale=scale)(model)
    indices = np.arange(count)
    labels = samples.default_labels(indices, led.num_classes)
    made, _ = samples.generate(
      led.objective, self.sampler, led.params, shape=led.shape,
      indices=indices, labels=labels, seed=self.seed, size=self.size,
    )  # fmt: skip
    return baselines.Labelled(made, labels)

  def _panel(
    self, model: trained.Trained, sets: list[baselines.Labelled]
  ) -> bytes:
    """A row a scale, a column a sample."""
    rows = [f'w = {scale:g}' for scale in self.scales]
    names = model.class_names or tuple(map(str, range(model.num_classes)))
    columns = [names[label] for label in sets[0].labels[: self.shown]]
    cells = [made.images[: self.shown] for made in sets]
    return plots.panel(cells, rows=rows, columns=columns)

  def _conclusion(
    self, shares: dict[str, list[float]], distances: list[float]
  ) -> str:
    best = self.scales[int(np.argmin(distances))]
    ends = ', '.join(
      f'{name} from {values[0]:.0%} to {values[-1]:.0%}'
      for name, values in shares.items()
    )
    return (
      f'From scale {self.scales[0]:g} to {self.scales[-1]:g}: {ends}. The '
      f'Fréchet distance, which weighs both, is least at {best:g}.'
    )


def _accuracy(judge: metrics.Classifier, made: baselines.Labelled) -> float:
  found = judge.labels(distribution.pixels(made.images))
  return float(np.mean(found == made.labels))


def _distance(features: np.ndarray, real: np.ndarray) -> float:
  gaussian = lambda x: metrics.Moments.of(x).gaussian
  return metrics.frechet_distance(gaussian(features), gaussian(real))
