"""A study of solvers, which trains nothing: error and quality by evaluations.

Every solver starts from the same noise. Its error is the root mean square, over
all numbers of all samples, of the distance to a fine solution of the same
ordinary differential equation; quality is the Fréchet distance to the data, in
which errors weigh as far as they change what is drawn. Solvers that draw noise
follow no such equation, and have a quality only.

On a mixture of Gaussians the denoiser is exact, and float64 shows the order of
a solver as a slope; on a trained model the same solvers meet a network.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import jax
import numpy as np
import tqdm

from difjax import metrics
from difjax.data import device
from difjax.data import source as sources
from difjax.evaluation import (
  baselines,
  curves,
  distribution,
  mixture,
  plots,
  report,
  samples,
  sections,
  trained,
)
from difjax.objectives import base
from difjax.sampling import grids, ode, samplers
from difjax.sampling import solver as solvers
from difjax.typing import Params, Shape

_EXACT = ode.AdaptiveODE(rtol=1e-10, atol=1e-10)


class Point(NamedTuple):
  """What a sampler reaches.

  Attributes:
    evaluations: of the network, the mean over samples.
    error: to the fine solution.
    quality: to the data.
    samples: the first [n, ...].
  """

  evaluations: float
  error: float
  quality: float
  samples: np.ndarray


class Subject(NamedTuple):
  """What solvers are tried on.

  Attributes:
    objective: what draws.
    params: its parameters.
    shape: of a sample.
    labels: int [N], or None.
    reference: the sampler of the fine solution.
    distance: of samples [N, ...] to the data.
    features: what the distance compares, in words.
  """

  objective: base.Generative
  params: Params
  shape: Shape
  labels: np.ndarray | None
  reference: samplers.Sampler
  distance: Callable[[np.ndarray], float]
  features: str = 'their numbers'


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolverStudy:
  """Solvers against each other: a section of a report, or a page of its own.

  Attributes:
    solvers: by name, of the ordinary differential equation.
    noisy: by name, solvers that draw noise.
    grid: makes the times of some `steps`.
    evaluations: how many each curve has points for; a solver of several a step
      takes as many whole steps as they are enough for.
    others: by name, samplers that are no solver on this grid, in the order of
      their evaluations.
    reference: the fine solution on a trained model; float32 does not reach
      much smaller tolerances.
    mixture: what else they are tried on; None: nothing.
    held_out: labelled images for a page of its own.
    train: labelled images; the features of a classifier that learns them are
      what quality on a model is measured in. None: pixels are.
    shown: how many samples of each are shown.
    images: how many samples.
    size: samples in a block.
    seed: of the samples.
  """

  solvers: Mapping[str, solvers.Solver]
  noisy: Mapping[str, solvers.Solver] = dataclasses.field(default_factory=dict)
  grid: Callable[..., grids.Grid] = grids.Karras
  evaluations: tuple[int, ...] = (5, 10, 20, 50)
  others: Mapping[str, tuple[samplers.Sampler, ...]] = dataclasses.field(
    default_factory=dict
  )
  reference: samplers.Sampler = ode.AdaptiveODE(rtol=1e-4, atol=1e-4)
  mixture: mixture.Mixture | None = mixture.Mixture()
  held_out: sources.Source | None = None
  train: sources.Source | None = None
  shown: int = 3
  images: int = 256
  size: int = 256
  seed: int = 0
  alone: ClassVar[bool] = True  # `write` needs no model

  def __call__(
    self,
    model: trained.Trained,
    held_out: baselines.Labelled,
    draw: sections.Draw,
  ) -> report.Section:
    """Returns the section of a trained model's report."""
    features, words = self._features()
    known = _moments(features(held_out.images))

    def distance(x: np.ndarray) -> float:
      seen = features(np.asarray(device.to_bytes(x)))
      return metrics.frechet_distance(_moments(seen), known)

    labels = samples.default_labels(np.arange(self.images), model.num_classes)
    subject = Subject(
      model.objective, model.params, model.shape, labels, self.reference,
      distance, words,
    )  # fmt: skip
    return self._section('Solvers on the trained model', 'model', subject, draw)

  def _features(self) -> tuple[distribution.Features, str]:
    """Returns the features of images, and their name."""
    if self.train is None:
      return distribution.pixels, 'their pixels'
    judge = distribution.classifier(self.train, self.seed)
    return (
      lambda images: judge.features(distribution.pixels(images)),
      'their features in a classifier of the training images',
    )

  def write(
    self, model: trained.Trained | None, workdir: str | pathlib.Path
  ) -> str:
    """Writes solvers.html and its pictures.

    Args:
      model: what the solvers are tried on, besides the mixture, where there are
        `held_out` images too.
      workdir: the folder.

    Returns:
      The path of solvers.html.
    """
    workdir = pathlib.Path(workdir)
    draw = functools.partial(report.filed, workdir / 'solvers')
    parts = []
    if self.mixture is not None:
      parts.append(self.exact(draw))
    if model is not None and self.held_out is not None:
      parts.append(self(model, baselines.labelled(self.held_out), draw))
    page = report.render(
      'Solvers', 'Error and quality against network evaluations.', parts, {}
    )
    report.write(workdir / 'solvers.html', page)
    return str(workdir / 'solvers.html')

  def exact(self, draw: sections.Draw) -> report.Section:
    """Returns the section of the mixture, in float64."""
    with jax.enable_x64(True):
      known = self.mixture.moments()
      distance = lambda x: metrics.frechet_distance(_moments(x), known)
      subject = Subject(
        self.mixture, (), self.mixture.shape, None, _EXACT, distance
      )
      return self._section(
        'Solvers on a known score', 'mixture', subject, draw
      )

  def points(self, subject: Subject) -> dict[str, list[Point]]:
    """Returns what every solver reaches, and what the fine solution does."""
    fine, count = self._drawn(subject, subject.reference)
    first = slice(self.shown)
    floor = Point(
      float(count.mean()), 0.0, subject.distance(fine), fine[first]
    )
    found = {'': [floor]}
    ways = self._ways()
    bar = tqdm.tqdm(
      total=sum(map(len, ways.values())), unit='sampler', disable=None
    )
    for name, of_name in ways.items():
      bar.set_description(name)
      found[name] = []
      for way in of_name:
        x, count = self._drawn(subject, way)
        error, good = np.inf, np.inf
        if np.isfinite(x).all():
          error = float(np.sqrt(np.mean((x - fine) ** 2)))
          good = subject.distance(x)
        found[name].append(Point(float(count.mean()), error, good, x[first]))
        bar.update()
    bar.close()
    return found

  def _ways(self) -> dict[str, tuple[samplers.Sampler, ...]]:
    on_grid = lambda solver: tuple(
      samplers.FixedGrid(
        solver=solver,
        grid=self.grid(steps=1 + (budget - 1) // solver.evaluations),
      )
      for budget in self.evaluations
    )
    ways = {name: on_grid(solver) for name, solver in self.solvers.items()}
    noisy = {name: on_grid(solver) for name, solver in self.noisy.items()}
    return {**ways, **self.others, **noisy}  # so a colour is one solver's

  def _drawn(
    self, subject: Subject, way: samplers.Sampler
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns samples [N, ...], not yet rounded, and their evaluations [N]."""
    blocks = samples.blocks(
      subject.objective, way, subject.params, shape=subject.shape,
      indices=np.arange(self.images), labels=subject.labels, seed=self.seed,
      size=self.size,
    )  # fmt: skip
    x, count = zip(*blocks, strict=True)
    return np.concatenate(x), np.concatenate(count)

  def _section(
    self, title: str, name: str, subject: Subject, draw: sections.Draw
  ) -> report.Section:
    found = self.points(subject)
    (fine,) = found.pop('')
    errors = {
      solver: [(p.evaluations, p.error) for p in points]
      for solver, points in found.items()
      if solver not in self.noisy
    }
    good = {
      solver: [(p.evaluations, p.quality) for p in points]
      for solver, points in found.items()
    }
    turned = lambda of: {k: tuple(zip(*v, strict=True)) for k, v in of.items()}
    figures = [
      draw(
        f'{name}_error', curves.by_evaluations(
          turned(errors), y='error (root mean square)'
        ),
        f'The distance of {self.images} samples to a fine solution of '
        f'{fine.evaluations:.0f} evaluations from the same noise.', curves=True,
      ),
      draw(
        f'{name}_quality', curves.by_evaluations(
          turned(good), y='Fréchet distance to the data',
          floor=('fine solution', fine.quality),
        ),
        f'The quality of {self.images} samples, the mean and covariance of '
        f'{subject.features} against those of the data; no FID.', curves=True,
      ),
    ]  # fmt: skip
    if len(subject.shape) == 3:
      figures.append(self._pictures(name, found, fine, draw))
    return report.Section(
      title=title, text=self._conclusion(found), figures=figures,
      table=_table(found, fine.quality, self.evaluations),
      caption='Fréchet distance by the evaluations that were allowed; in '
      'brackets those that were made.',
    )  # fmt: skip

  def _pictures(
    self, name: str, found: Mapping[str, list[Point]], fine: Point,
    draw: sections.Draw,
  ) -> report.Figure:  # fmt: skip
    """Draws a row a solver, the first samples by what was allowed."""
    on_grid = (*self.solvers, *self.noisy)
    shown = {**{n: found[n] for n in on_grid}, 'fine solution': [fine]}
    cells = [
      list(device.to_bytes(np.concatenate([p.samples for p in points])))
      for points in shown.values()
    ]
    columns = [
      str(count) if not i else ''
      for count in self.evaluations
      for i in range(self.shown)
    ]
    return draw(
      f'{name}_samples', plots.panel(cells, rows=[*shown], columns=columns),
      'The first samples by the evaluations that were allowed, from the same '
      'noise.',
    )  # fmt: skip

  def _conclusion(self, found: Mapping[str, list[Point]]) -> str:
    """Says which of the solvers on the grid errs least."""
    least = [
      min(self.solvers, key=lambda name, i=i: found[name][i].error)
      for i in range(len(self.evaluations))
    ]
    named = ', '.join(
      f'{name} at {count}'
      for name, count in zip(least, self.evaluations, strict=True)
    )
    return f'The least error on the grid that all share: {named} evaluations.'


def _moments(x: np.ndarray) -> metrics.Gaussian:
  return metrics.Moments.of(x).gaussian


def _table(
  found: Mapping[str, list[Point]], floor: float, allowed: Sequence[int]
) -> report.Table:
  """Quality by solver; a row that is short ends in blanks."""
  most = max(map(len, found.values()))
  blank = [''] * most
  cell = lambda p: f'{p.quality:.3g} ({p.evaluations:.0f})'
  rows = [
    [name, *(map(cell, points)), *blank[len(points) :]]
    for name, points in found.items()
  ]
  rows.append(['fine solution', f'{floor:.3g}', *blank[1:]])
  titles = [*map(str, allowed), *blank[len(allowed) :]]
  return report.Table(header=['solver', *titles], rows=rows)
