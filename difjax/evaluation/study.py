"""The study of a trained model that a report shows.

Samples are judged beside real images that nothing was trained on; beside the
figures stand the pictures: samples by class, how they come out of noise, their
nearest training images, the losses, and quality against evaluations.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from difjax import config as configs
from difjax import errors, metrics, pytree
from difjax.data import device
from difjax.data import source as sources
from difjax.evaluation import (
  baselines,
  curves,
  distribution,
  loss,
  plots,
  report,
  samples,
  trained,
)
from difjax.evaluation import sections as extra
from difjax.sampling import noise as noises
from difjax.sampling import samplers
from difjax.training import writers
from difjax.typing import Array

_STRIP = (6, 12)  # samples and noise levels of the denoising strip
_PAIRS = (14, 2)  # samples and neighbours each
_BY_TIME = 'train/loss_t'  # and a number: the loss in a part of the times


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """What a report shows, as part of a config.

  Attributes:
    held_out: labelled images that nothing was trained on.
    train: what the model was trained on.
    sampler: what is judged; a `sampling.FixedGrid`, for its strip.
    few: the sampler with few evaluations.
    curves: by solver, samplers in the order of their evaluations.
    sections: what else is shown, such as `evaluation.RestorationSection`.
    title: of the page.
    images: how many are judged.
    size: images in a block.
    seed: of the samples.
  """

  held_out: sources.Source
  train: sources.Source
  sampler: samplers.FixedGrid
  few: samplers.Sampler
  curves: Mapping[str, tuple[samplers.Sampler, ...]]
  sections: tuple[extra.Section, ...] = ()
  title: str = 'difjax'
  images: int = 500
  size: int = 250
  seed: int = 0

  def write(self, model: trained.Trained, workdir: str | pathlib.Path) -> str:
    """Writes report.html, report.json and the pictures, if they are not there.

    Args:
      model: what to study.
      workdir: of its run; its metrics are read.

    Returns:
      The path of report.html.

    Raises:
      DataError: the model is not class-conditional on these images.
    """
    workdir = pathlib.Path(workdir)
    page, figures = workdir / 'report.html', workdir / 'report.json'
    state = {'step': model.step, 'config': model.config}
    if page.exists() and figures.exists():
      old = json.loads(figures.read_text())
      if not configs.differences(old['of'], json.loads(json.dumps(state))):
        return str(page)
    if not model.num_classes:
      raise errors.DataError('this study needs a class-conditional model')
    work = _Work(self, model, workdir)
    judgement = work.judge()
    print(distribution.format_table(judgement))
    document = work.document(judgement)
    found = {'of': state, **judgement.as_dict()}
    plots.write(figures, json.dumps(found, indent=2).encode())
    report.write(page, document)
    return str(page)


@dataclasses.dataclass(eq=False)
class _Work:
  """One pass of a study: samples are made once and used throughout."""

  study: Study
  model: trained.Trained
  workdir: pathlib.Path

  def __post_init__(self) -> None:
    self.train = baselines.labelled(self.study.train)
    self.held_out = baselines.labelled(self.study.held_out)
    indices = np.arange(self.study.images)
    self.labels = samples.default_labels(indices, self.model.num_classes)
    self.seconds: dict[samplers.Sampler, float] = {}

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """Names of the classes."""
    numbers = map(str, range(self.model.num_classes))
    return self.model.class_names or tuple(numbers)

  @functools.cache  # noqa: B019, dies with the study
  def sampled(
    self, sampler: samplers.Sampler
  ) -> tuple[baselines.Labelled, np.ndarray]:
    """Returns the samples by a sampler and the evaluations each took."""
    began = time.monotonic()
    images, evaluations = samples.generate(
      self.model.objective, sampler, self.model.params,
      shape=self.model.shape, indices=np.arange(self.study.images),
      labels=self.labels, seed=self.study.seed, size=self.study.size,
    )  # fmt: skip
    self.seconds[sampler] = time.monotonic() - began
    return baselines.Labelled(images, self.labels), evaluations

  def judge(self) -> distribution.Judgement:
    """Judges the sampler and the one with few evaluations."""
    sets = {}
    for sampler in (self.study.sampler, self.study.few):
      made, evaluations = self.sampled(sampler)
      sets[f'samples, {evaluations.mean():.0f} evaluations'] = made
    return distribution.judge(sets, self.train, self.held_out)

  def document(self, judgement: distribution.Judgement) -> str:
    """Returns the page."""
    sections = [
      report.Section(title='Samples', figures=[self.by_class(), self.strip()]),
      report.judged(judgement, title='Are they any good?'),
      report.Section(title='Are they new?', figures=[self.neighbours()]),
      *(
        make(self.model, self.held_out, self._figure)
        for make in self.study.sections
      ),
      report.Section(title='Speed against quality', figures=[self.speed()]),
      report.Section(title='Training', figures=self.losses()),
      report.Section(title='How it was made', details=self.details()),
    ]
    solver = type(self.study.sampler.solver).__name__
    subtitle = (
      f'{type(self.model.objective.network).__name__} on '
      f'{type(self.study.train).__name__}, '
      f'{type(self.model.objective.process).__name__} process, sampled along '
      f'the probability-flow ODE by {solver}'
    )
    return report.render(self.study.title, subtitle, sections, self.facts())

  def by_class(self) -> report.Figure:
    """The first samples of every class."""
    made, _ = self.sampled(self.study.sampler)
    png = plots.class_grid(made.images, made.labels, self.names)
    return self._figure(
      'samples', png, 'The first samples of every class, none left out.'
    )

  def strip(self) -> report.Figure:
    """How some samples come out of noise."""
    rows, columns = _STRIP
    process, sampler = self.model.objective.process, self.study.sampler
    grid = sampler.grid(process)
    cond = {'label': jax.numpy.asarray(self.labels[:rows])}

    @jax.jit
    def run(params: Any) -> Array:
      keys = noises.image_keys(self.study.seed, np.arange(rows))
      x = jax.vmap(lambda k: process.prior(k, self.model.shape))(keys)
      denoiser = self.model.objective.denoiser(params, cond)
      path = samplers.trajectory(
        denoiser, process, sampler.solver, x, grid, noises.Keys(keys)
      )
      return path, denoiser(path[-1], grid[-1]).x0

    path, last = jax.device_get(run(self.model.params))
    chosen = np.round(np.linspace(0, len(grid) - 1, columns - 1)).astype(int)
    alpha, sigma = (np.asarray(f(grid)) for f in (process.alpha, process.sigma))
    scale = np.sqrt(alpha**2 + sigma**2)[chosen].reshape(-1, 1, 1, 1, 1)
    frames = np.concatenate([path[chosen] / scale, last[None]])
    names = [f'σ {s:.2g}' for s in (sigma / alpha)[chosen]] + ['data']
    png = plots.denoising_strip(device.to_bytes(frames), names)
    return self._figure(
      'denoising', png,
      'From noise to digits: x at falling noise levels, scaled to one range.',
    )  # fmt: skip

  def neighbours(self) -> report.Figure:
    """Samples above their nearest training images."""
    count, k = _PAIRS
    made, _ = self.sampled(self.study.sampler)
    _, found = metrics.nearest_neighbours(
      distribution.pixels(made.images[:count]),
      distribution.pixels(self.train.images),
      k=k,
    )
    png = plots.nearest_pairs(made.images[:count], self.train.images[found])
    return self._figure(
      'neighbours', png,
      'The first samples (top) and the training images nearest to them in '
      'pixels (below). Copies would be equal.',
    )  # fmt: skip

  def speed(self) -> report.Figure:
    """Fréchet distance against evaluations, by solver."""
    known = self._moments(self.held_out.images)
    found = {}
    for name, ways in self.study.curves.items():
      points = []
      for sampler in ways:
        made, evaluations = self.sampled(sampler)
        distance = metrics.frechet_distance(self._moments(made.images), known)
        points.append((float(evaluations.mean()), distance))
      found[name] = tuple(zip(*points, strict=True))
    copies = self.train.draw(self.study.images, np.random.default_rng(0))
    floor = metrics.frechet_distance(self._moments(copies.images), known)
    png = curves.by_evaluations(
      found, y='Fréchet distance to held-out',
      floor=('training images', floor),
    )  # fmt: skip
    return self._figure(
      'evaluations', png,
      f'{self.study.images} samples a point, pixels as features; lower is '
      'better, and the dashed line is what real images reach.', curves=True,
    )  # fmt: skip

  def losses(self) -> list[report.Figure]:
    """The loss by step and by noise level."""
    rows = writers.read_metrics(self.workdir)
    steps = [row['step'] for row in rows]
    png = plots.loss_by_step(steps, [row['train/loss'] for row in rows])
    by_step = self._figure(
      'loss', png, 'The training loss, each point a mean over steps.',
      curves=True,
    )  # fmt: skip
    found = {}
    for name, images in (('training', self.train), ('held out', self.held_out)):
      batch = {'image': images.images, 'label': images.labels}
      levels, found[name] = loss.by_level(
        self.model.objective, self.model.params, batch
      )
    png = plots.loss_by_level(levels, found, y="error of the network's output")
    by_level = self._figure(
      'loss_by_level', png,
      'Mean squared error of the averaged network over the noise levels it is '
      'trained on. Where held-out images do worse, it has learnt its training '
      'images by heart.', curves=True,
    )  # fmt: skip
    return [by_step, by_level, *self.over_training(rows)]

  def over_training(self, rows: list[dict[str, float]]) -> list[report.Figure]:
    """The loss by noise level and the speed, by step."""
    draw = functools.partial(curves.by_step, [row['step'] for row in rows])
    of = lambda key: [row.get(key, np.nan) for row in rows]
    png = draw({'': of('perf/images_per_s')}, y='images/s')
    shown = [
      self._figure(
        'throughput', png, 'Images a second while it was trained.', curves=True
      )
    ]
    parts = sorted(key for key in rows[-1] if key.startswith(_BY_TIME))
    if parts:
      names = [f'part {i + 1}' for i in range(len(parts))]
      names[0], names[-1] = 'least noise', 'most noise'
      png = draw(dict(zip(names, map(of, parts), strict=True)), y='loss',
                 log_y=True)  # fmt: skip
      figure = self._figure(
        'loss_by_time', png,
        f'The training loss by noise level: in {len(parts)} equal parts of the '
        'times that are drawn.', curves=True,
      )  # fmt: skip
      shown.insert(0, figure)
    return shown

  def facts(self) -> dict[str, str]:
    """A few numbers for the top of the page."""
    rows = writers.read_metrics(self.workdir)
    speed = np.median([row['perf/images_per_s'] for row in rows])
    _, evaluations = self.sampled(self.study.sampler)
    return {
      'parameters': f'{pytree.count(self.model.params):,}',
      'training images': f'{len(self.train.images):,}',
      'steps': f'{self.model.step:,}',
      'training speed': f'{speed:,.0f} images/s',
      'evaluations': f'{evaluations.mean():.0f}',
    }

  def details(self) -> list[report.Details]:
    """The config, the environment and the timings, folded away."""
    made = {key: f'{value:.1f} s' for key, value in self.timings().items()}
    spelled = '\n'.join(f'{key}: {value}' for key, value in made.items())
    return [
      *report.provenance(self.model.config),
      report.Details(summary='Timings', text=spelled),
    ]

  def timings(self) -> dict[str, float]:
    """Seconds of training and of each sampling, compilation included."""
    rows = writers.read_metrics(self.workdir)
    batch = self.model.config['data']['batch_size']
    ends = [0, *(row['step'] for row in rows)]
    training = sum(
      (end - start) * batch / row['perf/images_per_s']
      for start, end, row in zip(ends, ends[1:], rows, strict=False)
    )
    found = {f'training, {self.model.step} steps': training}
    for sampler, seconds in self.seconds.items():
      count = self.sampled(sampler)[1].mean()
      name = f'{self.study.images} samples, {count:.1f} evaluations each'
      found[name] = seconds
    return found

  def _moments(self, images: np.ndarray) -> metrics.Gaussian:
    return metrics.Moments.of(distribution.pixels(images)).gaussian

  @property
  def _figure(self) -> Callable[..., report.Figure]:
    return functools.partial(report.filed, self.workdir / 'report')
