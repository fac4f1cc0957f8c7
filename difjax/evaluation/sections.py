"""Sections of a report that a config adds: pictures of controlled generation.

A `Section` is a value of a config that makes a part of the page from a trained
model and held-out images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from difjax.data import device
from difjax.denoising import restoration
from difjax.evaluation import (
  baselines,
  controlled,
  plots,
  report,
  samples,
  trained,
)
from difjax.sampling import samplers


class Draw(Protocol):
  """Makes figures, and keeps each as a file: `report.filed` in a folder."""

  def __call__(
    self, name: str, png: bytes, caption: str, *, curves: bool = False
  ) -> report.Figure:
    """Returns the figure of a PNG file; curves are dark lines on white."""


class Section(Protocol):
  """Makes a section of a report."""

  def __call__(
    self, model: trained.Trained, held_out: baselines.Labelled, draw: Draw
  ) -> report.Section:
    """Returns the section; its figures come from `draw`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestorationSection:
  """A report's section of restored held-out images.

  Attributes:
    sampler: how to sample.
    operators: by name, what is known; those that do not fit are left out.
    method: how samples are brought to agree.
    images: how many are restored.
    samples: how many samples each.
    seed: of the samples.
  """

  sampler: samplers.Sampler
  operators: Mapping[str, restoration.Operator]
  method: controlled.Method = controlled.MATCHED
  images: int = 4
  samples: int = 5
  seed: int = 0

  def __call__(
    self, model: trained.Trained, held_out: baselines.Labelled, draw: Draw
  ) -> report.Section:
    """Returns a figure an operator: original, measurement, samples."""
    fitting = {
      name: operator
      for name, operator in self.operators.items()
      if operator.fits(model.shape)
    }
    figures = [
      draw(
        _file(name), self._panel(model, operator, held_out.images),
        f'{name.capitalize()} of held-out images: the image, what the model '
        'is told of it, and samples that agree with that.',
      )
      for name, operator in fitting.items()
    ]  # fmt: skip
    return report.Section(title='Restored images', figures=figures)

  def _panel(
    self,
    model: trained.Trained,
    operator: restoration.Operator,
    originals: np.ndarray,
  ) -> bytes:
    """A row an image."""
    free = dataclasses.replace(model, num_classes=0)
    cells = []
    for i, original in enumerate(originals[: self.images]):
      y = controlled.measured(operator, original, model.shape)
      task = controlled.restoring(free, operator, self.method, y)
      made, _ = samples.generate(
        task.model.objective, self.sampler, task.model.params,
        shape=model.shape, labels=None, mean=task.mean, seed=self.seed,
        indices=i * self.samples + np.arange(self.samples), size=self.samples,
      )  # fmt: skip
      cells.append([original, task.picture, *made])
    columns = ['image', 'known', 'samples', *[''] * (self.samples - 1)]
    return plots.panel(cells, columns=columns)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceSection:
  """A report's section of samples that a classifier leads.

  Attributes:
    sampler: how to sample.
    guidance: by which classifier; its scale is not used.
    scales: the scales that are shown, each from the same noise.
    samples: how many of a class at each.
    seed: of the samples.
  """

  sampler: samplers.Sampler
  guidance: controlled.ClassifierGuidance
  scales: tuple[float, ...] = (0.0, 1.0, 3.0)
  samples: int = 4
  seed: int = 0

  def __call__(
    self, model: trained.Trained, held_out: baselines.Labelled, draw: Draw
  ) -> report.Section:
    """Returns one figure: a row a class, scales side by side."""
    del held_out
    parts, right = [], []
    for scale in self.scales:
      led = dataclasses.replace(self.guidance, scale=scale)(model)
      labels = np.repeat(np.arange(led.num_classes), self.samples)
      made, _ = samples.generate(
        led.objective, self.sampler, led.params, shape=led.shape,
        indices=np.arange(len(labels)), labels=labels, seed=self.seed,
        size=len(labels),
      )  # fmt: skip
      parts.append(made.reshape(led.num_classes, self.samples, *led.shape))
      right.append(f'{_accuracy(led, made, labels):.0%} at {scale:g}')
    names = led.class_names or tuple(map(str, range(led.num_classes)))
    blank = [''] * (self.samples - 1)
    columns = [
      text for scale in self.scales for text in (f'scale {scale:g}', *blank)
    ]
    figure = draw(
      'guidance',
      plots.panel(np.concatenate(parts, axis=1), rows=names, columns=columns),
      'Samples that a classifier leads to the class of their row, from the '
      'same noise at every scale. It takes them for that class in '
      f'{", ".join(right)}.',
    )
    return report.Section(title='Guided to a class', figures=[figure])


def _accuracy(
  led: trained.Trained, made: np.ndarray, labels: np.ndarray
) -> float:
  """Returns how often the classifier, at t_min, gives the labels."""
  own = led.objective.classifier
  x = own.process.alpha(own.process.t_min) * device.to_unit_range(made)
  log_prob = own.log_prob(led.params['classifier'])(x, own.process.t_min)
  return float(np.mean(np.argmax(log_prob, axis=-1) == labels))


def _file(name: str) -> str:
  """A file's name, from a title."""
  return ''.join(c if c.isalnum() else '_' for c in name.lower())
