"""Figures over training: a card for every checkpoint, as table and curves.

  OUT/STEP/card.json   of each step, beside its samples
  OUT/sweep.json       steps, and figures by name, each a list
  OUT/sweep_NAME.png   a curve for each figure
  OUT/sweep.html       the page

What is there of a step with the same protocol is not computed again.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from difjax.evaluation import card as cards
from difjax.evaluation import compare, curves, plots, report

FILE, PAGE = 'sweep.json', 'sweep.html'


def write(out: pathlib.Path, by_step: Mapping[int, Mapping[str, Any]]) -> str:
  """Writes the files above; returns the table as text.

  Args:
    out: the folder.
    by_step: cards.
  """
  steps = sorted(by_step)
  first = by_step[steps[0]]
  names = [row.name for row in cards.shown(first)]
  values = {
    name: [by_step[step]['figures'][name]['value'] for step in steps]
    for name in names
    if all(name in by_step[step]['figures'] for step in steps)
  }
  content = json.dumps({'steps': steps, 'figures': values}, indent=1)
  plots.write(out / FILE, f'{content}\n'.encode())
  figures = [
    report.filed(
      out, f'sweep_{name}',
      curves.by_scale(steps, {name: {name: line}}, x='training step'),
      f'{name}: {first["figures"][name]["better"]} is better', curves=True,
    )
    for name, line in values.items()
  ]  # fmt: skip
  rows = [
    (f'{step:,}', *(f'{line[i]:.6g}' for line in values.values()))
    for i, step in enumerate(steps)
  ]
  header = ('step', *values)
  section = report.Section(
    title='Figures over training',
    text='Each step has its card, with the whole protocol, in a folder.',
    table=report.Table(header=header, rows=rows), figures=figures,
  )  # fmt: skip
  subtitle = (
    f'{first["samples"]["count"]:,} images at each step against '
    f'{first["reference"].get("path")}'
  )
  report.write(
    out / PAGE, report.render('Sweep over checkpoints', subtitle, [section], {})
  )
  return '\n'.join(compare.columns([header, *rows]))
