"""Judges small labelled images against real ones that nothing was trained on.

One row a set, one column a question, every row made in the same way: from
equally many images, against the same held-out ones. What the columns cannot
tell by themselves the rows beside the samples do: training copies score what
perfect samples would (and are caught by the last column), while a Gaussian fit
to each class and the class means score what passes for digits from afar.

| column         | reference | best     | what it asks                         |
|----------------|-----------|----------|--------------------------------------|
| label accuracy | training  | 1        | does a classifier see the class that |
|                |           |          | was asked for?                       |
| Frechet        | held-out  | copies'  | are mean and covariance right?       |
| precision      | held-out  | copies'  | does a sample lie among real images? |
| recall         | held-out  | copies'  | does a real image lie among samples? |
| two-sample     | held-out  | 0.5      | can samples be told from real ones?  |
| nearest        | training  | 1        | are they as far from the training    |
|                |           |          | images as new real ones are?         |
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from difjax import metrics
from difjax.data import source as sources
from difjax.evaluation import baselines

Features = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """The figures of one set; None where a set would be its own reference."""

  name: str
  label_accuracy: float
  frechet: float | None = None
  precision: float | None = None
  recall: float | None = None
  two_sample: float | None = None
  nearest_ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
  """A criterion that a value meets or does not.

  Attributes:
    criterion: what is measured, in words.
    value: what was found.
    threshold: what it is held to.
    at_most: whether the threshold bounds the value from above.
    form: format specification of both numbers.
  """

  criterion: str
  value: float
  threshold: float
  at_most: bool = False
  form: str = '.1%'

  @property
  def ok(self) -> bool:
    """Whether the criterion is met."""
    if self.at_most:
      return self.value <= self.threshold
    return self.value >= self.threshold

  @property
  def numbers(self) -> str:
    """The value and what it is held to, in words."""
    bound = 'at most' if self.at_most else 'at least'
    value, threshold = (
      format(number, self.form) for number in (self.value, self.threshold)
    )
    return f'{value}, {bound} {threshold}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
  """What samples have to reach, as shares in [0, 1].

  Attributes:
    classifier: label accuracy of held-out images, lest the judge be blind.
    label_accuracy: of the samples.
    few_label_accuracy: of samples made with few evaluations.
    recall: of the samples, as a share of that of training copies.
    two_sample: |accuracy - 0.5|, as a share of that of the Gaussian.
    nearest_ratio: below it, samples are copies of training images.
  """

  classifier: float = 0.97
  label_accuracy: float = 0.95
  few_label_accuracy: float = 0.9
  recall: float = 0.8
  two_sample: float = 0.5
  nearest_ratio: float = 0.8


THRESHOLDS = Thresholds()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
  """Figures side by side, and the criteria that the samples had to meet.

  Attributes:
    rows: the sets that were judged, in their order, then the baselines.
    checks: the criteria.
    count: images in each row, and in the held-out reference.
    features: what the images were compared by.
  """

  rows: tuple[Row, ...]
  checks: tuple[Check, ...]
  count: int
  features: str

  @property
  def passed(self) -> bool:
    """Whether every criterion is met."""
    return all(check.ok for check in self.checks)

  @property
  def caption(self) -> str:
    """What the figures can tell and what they cannot."""
    n, points = self.count, 50 / math.sqrt(self.count)
    return (
      f'Every row is {n} images. Fréchet distance, precision, recall (k = 3) '
      f'and the two-sample test compare it with {n} held-out real images. '
      'Training copies show what real images reach at this count; held-out '
      'images, being the reference, have no such figures. The nearest ratio is '
      'the median distance to the nearest training image, over that of '
      'held-out images: 1 is as new as new real images, 0 is copied. '
      f'All is measured on {self.features}: the Fréchet distance is no FID and '
      f'compares with nothing outside this table. A share of {n} images has a '
      f'standard error of up to {points:.1f} points, so small differences '
      'mean nothing.'
    )

  def as_dict(self) -> dict[str, Any]:
    """Everything as numbers, strings and lists, ready for JSON."""
    checks = [dataclasses.asdict(c) | {'ok': c.ok} for c in self.checks]
    return dataclasses.asdict(self) | {
      'checks': checks, 'passed': self.passed, 'caption': self.caption
    }


def pixels(images: np.ndarray) -> np.ndarray:
  """The plainest features: uint8 [N, H, W, C] as [N, HWC] in [-1, 1]."""
  return images.reshape(len(images), -1) / 127.5 - 1


@functools.lru_cache(maxsize=2)  # parts of an evaluation share their judge
def classifier(train: sources.Source, seed: int) -> metrics.Classifier:
  """Fits a classifier to the pixels of labelled images.

  Args:
    train: what it learns.
    seed: of its first weights.
  """
  known = baselines.labelled(train)
  return metrics.fit_classifier(pixels(known.images), known.labels, seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Bench:
  """What every row is measured with."""

  features: Features
  classify: Callable[[np.ndarray], np.ndarray]
  train: np.ndarray
  held_out: np.ndarray
  seed: int

  def alone(self, name: str, images: baselines.Labelled) -> Row:
    """The figures that need no held-out reference of the same law."""
    given = self.features(images.images)
    return Row(
      name=name,
      label_accuracy=float((self.classify(given) == images.labels).mean()),
      nearest_ratio=metrics.nearest_ratio(given, self.held_out, self.train),
    )

  def compared(self, name: str, images: baselines.Labelled) -> Row:
    """All the figures."""
    given = self.features(images.images)
    overlap = metrics.overlap(given, self.held_out)
    return dataclasses.replace(
      self.alone(name, images),
      frechet=metrics.frechet_distance(
        metrics.Moments.of(given).gaussian,
        metrics.Moments.of(self.held_out).gaussian,
      ),
      precision=overlap.precision,
      recall=overlap.recall,
      two_sample=metrics.two_sample_accuracy(
        given, self.held_out, seed=self.seed
      ),
    )


def judge(
  sets: Mapping[str, baselines.Labelled],
  train: baselines.Labelled,
  held_out: baselines.Labelled,
  *,
  features: Features = pixels,
  thresholds: Thresholds = THRESHOLDS,
  seed: int = 0,
) -> Judgement:
  """Judges sets of samples beside held-out images, copies, Gaussian, means.

  Every row has as many images as the smallest of all the sets has, drawn by the
  seed. Time is that of a few support vector machines: seconds for some
  hundred small images a set.

  Args:
    sets: samples by name. The first has to meet every criterion; the others
      were made with few evaluations and are held to their label accuracy.
    train: what the model was trained on.
    held_out: real images that nothing was trained on.
    features: a function from images uint8 [N, H, W, C] to features [N, d].
    thresholds: what has to be reached; the quickstart's by default.
    seed: of the draws.

  Raises:
    DataError: a set is malformed, or has too few images for a figure.
  """
  from sklearn import svm

  rng = np.random.default_rng(seed)
  count = min(len(s.images) for s in (*sets.values(), train, held_out))
  reference = held_out.draw(count, rng)
  known = features(train.images)
  bench = _Bench(
    features=features,
    classify=svm.SVC(C=10.0, gamma='scale').fit(known, train.labels).predict,
    train=known,
    held_out=features(reference.images),
    seed=seed,
  )
  made = [
    bench.compared(name, images.draw(count, rng))
    for name, images in sets.items()
  ]
  real = bench.alone('held-out real images', reference)
  copies = bench.compared('training copies', train.draw(count, rng))
  gaussian = bench.compared(
    'Gaussian of each class',
    baselines.class_gaussian(train, reference.labels, rng),
  )
  means = bench.compared(
    'class means', baselines.class_means(train, reference.labels)
  )
  return Judgement(
    rows=(*made, real, copies, gaussian, means),
    checks=_checks(made, real, copies, gaussian, thresholds),
    count=count,
    features=features.__name__,
  )


def _checks(
  made: Sequence[Row],
  real: Row,
  copies: Row,
  gaussian: Row,
  least: Thresholds,
) -> tuple[Check, ...]:
  """The criteria for the first of the samples, and for those of few steps."""
  first, *few = made

  def accuracy(row: Row, threshold: float) -> Check:
    return Check(
      criterion=f'Label accuracy of {row.name}',
      value=row.label_accuracy,
      threshold=threshold,
    )

  return (
    accuracy(real, least.classifier),
    accuracy(first, least.label_accuracy),
    *(accuracy(row, least.few_label_accuracy) for row in few),
    Check(
      criterion=f'Recall, against {least.recall:g} of that of training copies',
      value=first.recall,
      threshold=least.recall * copies.recall,
      form='.2f',
    ),
    Check(
      criterion='Two-sample accuracy away from 50%, against '
      f"{least.two_sample:g} of the Gaussian's",
      value=abs(first.two_sample - 0.5),
      threshold=least.two_sample * abs(gaussian.two_sample - 0.5),
      at_most=True,
    ),
    Check(
      criterion='Nearest ratio: no copies of training images',
      value=first.nearest_ratio,
      threshold=least.nearest_ratio,
      form='.2f',
    ),
  )


def cells(judgement: Judgement) -> tuple[list[str], list[list[str]]]:
  """The figures as text for a table: a header, and a list of cells a row."""

  def show(value: float | None, form: str) -> str:
    return '\u2013' if value is None else format(value, form)

  header = [
    'images',
    'label accuracy',
    'Fréchet',
    'precision',
    'recall',
    'two-sample',
    'nearest ratio',
  ]
  return header, [
    [
      row.name,
      show(row.label_accuracy, '.1%'),
      show(row.frechet, '.3f'),
      show(row.precision, '.2f'),
      show(row.recall, '.2f'),
      show(row.two_sample, '.1%'),
      show(row.nearest_ratio, '.2f'),
    ]
    for row in judgement.rows
  ]


def format_table(judgement: Judgement) -> str:
  """The table and the criteria as aligned text for a terminal."""
  header, rows = cells(judgement)
  widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
  lines = [
    '  '.join(
      [line[0].ljust(widths[0])]
      + [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
    )
    for line in (header, *rows)
  ]
  checks = [
    f'{"pass" if check.ok else "FAIL"}  {check.criterion}: {check.numbers}'
    for check in judgement.checks
  ]
  return '\n'.join([*lines, '', *checks])
