"""A page of pictures of a trained model, for what no figure judges.

A `Gallery` shows samples and the sections that its config adds, of any
generative model, with classes or without.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np

from difjax import pytree
from difjax.data import source as sources
from difjax.evaluation import baselines, plots, report, samples, trained
from difjax.evaluation import sections as extra
from difjax.sampling import samplers

_COLUMNS = 8  # of the grid of samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
  """What a report of pictures shows, as part of a config.

  Attributes:
    held_out: labelled images that nothing was trained on.
    sampler: draws the samples.
    sections: what else is shown, such as `evaluation.RestorationSection`.
    title: of the page.
    images: how many samples.
    seed: of the samples.
  """

  held_out: sources.Source
  sampler: samplers.Sampler
  sections: tuple[extra.Section, ...] = ()
  title: str = 'difjax'
  images: int = 32
  seed: int = 0

  def write(self, model: trained.Trained, workdir: str | pathlib.Path) -> str:
    """Writes report.html and the pictures.

    Args:
      model: what is shown.
      workdir: of its run.

    Returns:
      The path of report.html.
    """
    workdir = pathlib.Path(workdir)
    draw = functools.partial(report.filed, workdir / 'report')
    held_out = baselines.labelled(self.held_out)
    sections = [
      self._samples(model, draw),
      *(make(model, held_out, draw) for make in self.sections),
      report.Section(
        title='How it was made', details=report.provenance(model.config)
      ),
    ]
    subtitle = (
      f'{type(model.objective.network).__name__}, '
      f'{type(model.objective.process).__name__} process'
    )
    facts = {
      'parameters': f'{pytree.count(model.params):,}',
      'steps': f'{model.step:,}',
    }
    page = workdir / 'report.html'
    report.write(page, report.render(self.title, subtitle, sections, facts))
    return str(page)

  def _samples(
    self, model: trained.Trained, draw: extra.Draw
  ) -> report.Section:
    indices = np.arange(self.images)
    made, evaluations = samples.generate(
      model.objective, self.sampler, model.params, shape=model.shape,
      indices=indices, seed=self.seed, size=self.images,
      labels=samples.default_labels(indices, model.num_classes),
    )  # fmt: skip
    rows = [made[i : i + _COLUMNS] for i in range(0, self.images, _COLUMNS)]
    figure = draw(
      'samples',
      plots.panel(rows),
      f'The first {self.images} samples, none left out; '
      f'{evaluations.mean():.0f} evaluations each.',
    )
    return report.Section(title='Samples', figures=[figure])
