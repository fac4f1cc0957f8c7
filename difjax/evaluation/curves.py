"""Curves that bear their names: quality by evaluations, and by scale.

With many solvers in a plot a legend is a puzzle. The name of a curve stands
beside its end, in its colour; markers and dashes differ as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from difjax.evaluation import plots
from difjax.typing import Array

_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*', '<', '>', 'h', 'd')
_DASHES = ('-', (0, (4, 1.5)), (0, (1, 1.2)))  # of six, of the next six, ...
_LINE = 0.16  # inches that a name needs above the next

Curve = tuple[Iterable[float], Iterable[float]]
"""Where it has points, and its values there."""


def by_evaluations(
  curves: Mapping[str, Curve],
  *,
  y: str,
  floor: tuple[str, float] | None = None,
) -> bytes:
  """A figure of merit against network evaluations a sample, by solver.

  Args:
    curves: by solver, some twenty at the most; both axes are logarithmic. What
      is not finite is left out.
    y: name and unit of the figure of merit.
    floor: name and value of what no solver's error is in.
  """
  high = max(3.1, 1.1 + _LINE * (len(curves) + (floor is not None)))
  canvas, axes = plots.blank('network evaluations a sample', y, high=high)
  axes.set_xscale('log')
  axes.set_yscale('log')
  ends = _draw(axes, curves)
  if floor:
    ends.append(_level(axes, *floor))
  plots.plain_ticks(axes.xaxis)
  plots.plain_ticks(axes.yaxis)
  _name(axes, ends, _LINE / (high - 0.7))
  return plots.finish(canvas, axes)


def by_step(
  steps: Sequence[float],
  curves: Mapping[str, Array],
  *,
  y: str,
  log_y: bool = False,
) -> bytes:
  """Figures of a training run, smoothed over a fiftieth of its points.

  Args:
    steps: [N], increasing.
    curves: by name, each [N]; what is not finite is left out.
    y: name and unit of the vertical axis.
    log_y: whether that is logarithmic.
  """
  canvas, axes = plots.blank('training step', y)
  steps, ends = np.asarray(steps, float), []
  for (name, values), colour in zip(
    curves.items(), itertools.cycle(plots.COLOURS), strict=False
  ):
    values = np.asarray(values, float)
    fine = np.isfinite(values)
    if not fine.any():
      continue
    at, line = steps[fine], plots.smooth(values[fine], max(1, fine.sum() // 50))
    axes.plot(at, line, color=colour, lw=1.4)
    ends.append((name, at[-1], line[-1], colour))
  if log_y:
    axes.set_yscale('log')
    plots.plain_ticks(axes.yaxis)
  else:
    axes.set_ylim(bottom=0)
  axes.margins(x=0.01)
  _name(axes, ends, _LINE / 2.4)
  return plots.finish(canvas, axes)


def by_scale(
  scales: Sequence[float],
  panels: Mapping[str, Mapping[str, Array]],
  *,
  x: str = 'guidance scale',
) -> bytes:
  """Figures of merit against the scale of guidance, in plots side by side.

  Args:
    scales: [N], increasing.
    panels: by the name of the vertical axis, curves by name, each [N], or one
      number that no scale changes.
    x: name of the horizontal axis.
  """
  from matplotlib import figure

  canvas = figure.Figure(figsize=(7.2, 2.9), dpi=200, layout='constrained')
  beside = canvas.subplots(1, len(panels), squeeze=False)[0]
  for axes, (y, values) in zip(beside, panels.items(), strict=True):
    plots.ruled(axes, x, y)
    ends = _draw(
      axes, {name: (scales, v) for name, v in values.items() if np.ndim(v)}
    )
    ends += [
      _level(axes, name, v) for name, v in values.items() if not np.ndim(v)
    ]
    _name(axes, ends, _LINE / 2.2)
  return plots.finish(canvas, beside[0])


def _draw(
  axes: Any, curves: Mapping[str, Curve]
) -> list[tuple[str, float, float, str]]:
  """Draws curves; returns the name, end (x, y) and colour of each."""
  ends = []
  for i, (name, curve) in enumerate(curves.items()):
    at, values = (np.asarray([*part], float) for part in curve)
    fine = np.isfinite(values)
    if not fine.any():
      continue
    colour = plots.COLOURS[i % len(plots.COLOURS)]
    axes.plot(
      at[fine], values[fine], color=colour, lw=1.4, ms=4.5,
      marker=_MARKERS[i % len(_MARKERS)],
      ls=_DASHES[i // len(plots.COLOURS) % len(_DASHES)],
    )  # fmt: skip
    ends.append((name, at[fine][-1], values[fine][-1], colour))
  return ends


def _level(
  axes: Any, name: str, value: float
) -> tuple[str, float, float, str]:
  """Draws a dashed line across; returns what `_draw` does of a curve."""
  grey = '#777777'
  axes.axhline(value, color=grey, ls='--', lw=1)
  return name, axes.get_xlim()[1], value, grey


def _name(
  axes: Any, ends: Sequence[tuple[str, float, float, str]], gap: float
) -> None:
  """Writes names to the right of the axes, none on another.

  Args:
    axes: of the plot.
    ends: the name, end (x, y) and colour of each curve; '' stays unnamed.
    gap: between two names, as a share of the height.
  """
  axes.get_xlim(), axes.get_ylim()  # settles what the data are scaled to
  share = axes.transData + axes.transAxes.inverted()
  ends = sorted((end for end in ends if end[0]), key=lambda end: end[2])
  heights = [share.transform(end[1:3])[1] for end in ends]
  for (name, x, y, colour), height in zip(
    ends, apart(heights, gap), strict=True
  ):
    axes.annotate(
      name, (x, y), (1.04, height), textcoords='axes fraction', color=colour,
      fontsize=8, va='center', annotation_clip=False,
      arrowprops=dict(
        arrowstyle='-', color=colour, lw=0.6, alpha=0.6, shrinkA=0, shrinkB=3,
        relpos=(0, 0.5),
      ),
    )  # fmt: skip


def apart(heights: Sequence[float], gap: float) -> list[float]:
  """Moves rising heights in [0, 1] as far apart as they have to be.

  Args:
    heights: where names would stand.
    gap: between one and the next.

  Returns:
    Heights that rise by the gap at least, from their own places upwards, and
    down again from 1 where there is no more room.
  """
  placed = []
  for height in heights:
    least = placed[-1] + gap if placed else 0.0
    placed.append(max(height, least))
  most = 1.0
  for i in reversed(range(len(placed))):
    placed[i] = min(placed[i], most)
    most = placed[i] - gap
  return placed
