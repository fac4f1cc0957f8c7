"""The part of a report that says whether samples are copies."""

from __future__ import annotations

import dataclasses

from difjax import metrics
from difjax.evaluation import (
  baselines,
  distribution,
  memorised,
  plots,
  report,
  sections,
  trained,
)

_LEAST = 1e-300  # of a chance: floats end there


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemorisedSection:
  """A report's section of what `Memorised` finds.

  Attributes:
    judge: what is asked, of which samples and images.
  """

  judge: memorised.Memorised

  def __call__(
    self, model: trained.Trained, held_out: baselines.Labelled,
    draw: sections.Draw,
  ) -> report.Section:  # fmt: skip
    """Returns a verdict, a table, suspects and the ratios of all images."""
    del held_out  # the judge has its own, with labels or without
    found = self.judge.inquire(model)
    figures = [
      draw(
        'suspects', plots.png(memorised.suspects(found)),
        'The most suspect samples above the training images nearest to them, '
        'each of those once; below, the most suspect held-out images above '
        'theirs.',
      ),
      *(self._ratios(found, space, draw) for space in found.verdicts),
    ]  # fmt: skip
    return report.Section(
      title='Are they copies?', text=_verdict(found),
      checks=[_check(*item) for item in found.verdicts.items()],
      table=_table(found), figures=figures, caption=self._caption(),
    )  # fmt: skip

  def _ratios(
    self, found: memorised.Inquiry, space: str, draw: sections.Draw
  ) -> report.Figure:
    named = {'samples': found.samples, 'held-out images': found.held_out}
    ratios = {name: side.tables[space].ratios for name, side in named.items()}
    png = plots.histogram(
      ratios, x=f'distance to the nearest training image, in {space}, '
      'calibrated', mark=1.0,
    )  # fmt: skip
    return draw(
      f'copies_{space}', png,
      'Calibrated distances; what is left of the line is a copy.', curves=True,
    )  # fmt: skip

  def _caption(self) -> str:
    """Says what the rows of the table mean."""
    judge = self.judge
    where = f' in each of {judge.tiles} x {judge.tiles} tiles'
    return (
      'A copy is nearer to a training image than '
      f'{judge.alpha:g} of its mean distance to the nearest {judge.count}. '
      'A sample is authentic if its nearest training image has another '
      'training image nearer than it. Repeated is a training image that a '
      f'sample meets within {judge.delta:g} of the range of pixels, root mean '
      f'square{where if judge.tiles > 1 else ""}. Real images do all of this '
      'too, so samples are flagged by copies that are twice as frequent and '
      'no chance.'
    )


def _verdict(found: memorised.Inquiry) -> str:
  """One sentence with its numbers."""
  shares = ', '.join(
    f'in {space} {verdict.copied:.1%} of the samples are copies and '
    f'{verdict.copied_held_out:.1%} of the held-out images, by chance in '
    f'{max(verdict.chance, _LEAST):.1g} of cases'
    for space, verdict in found.verdicts.items()
  )
  return f'{"Flagged" if found.flagged else "Not flagged"}: {shares}.'


def _check(space: str, verdict: metrics.Memorisation) -> distribution.Check:
  return distribution.Check(
    criterion=f'Copies among samples, in {space}, beside '
    f'{verdict.copied_held_out:.1%} among held-out images',
    value=verdict.copied,
    threshold=verdict.allowed,
    at_most=True,
  )


def _table(found: memorised.Inquiry) -> report.Table:
  """Samples beside held-out images."""
  sides = found.samples, found.held_out
  count = lambda side, key: f'{side.figures[key]:,}'
  rows = []
  for space, verdict in found.verdicts.items():
    copied = verdict.copied, verdict.copied_held_out
    authentic = verdict.authentic, verdict.authentic_held_out
    rows += [
      [f'copies, in {space}', *(f'{share:.1%}' for share in copied)],
      [f'authentic, in {space}', *(f'{share:.1%}' for share in authentic)],
      [f'nearest ratio, in {space}', f'{verdict.nearest_ratio:.2f}', '1.00'],
    ]
  rows += [
    ['repeat a training image', *(count(side, 'extracting') for side in sides)],
    [
      f'of {len(found.train):,} training images are repeated',
      *(count(side, 'extracted') for side in sides),
    ],
  ]
  shown = (f'{len(side.images):,}' for side in sides)
  names = ('samples', 'held-out images')
  titles = (f'{n} {name}' for n, name in zip(shown, names, strict=True))
  return report.Table(header=['', *titles], rows=rows)
