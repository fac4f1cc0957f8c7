"""Pictures of images and of curves, as PNG.

Images are drawn by Pillow, pixel by pixel: each pixel of the data becomes a
square of screen pixels, never a blur. Everything else in such a panel is
transparent or grey, so that it stands on a light page as on a dark one. Curves
are drawn by matplotlib's Agg canvas without pyplot, hence without global state,
in the colours of Okabe and Ito, which the colour-blind can tell apart; markers
and line styles differ as well. All pictures are made at twice their CSS size.
"""

from __future__ import annotations

import functools
import io
import os
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from difjax.typing import Array

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
INK = '#222222'
GREY = (118, 118, 118, 255)  # 4.5 to 1 on white, 4.1 to 1 on near-black
TEXT = 22  # pixels; 11 on the page
PAGE = 1472  # pixels that a panel may be wide


def _enlarge(image: np.ndarray, zoom: int) -> np.ndarray:
  """[..., H, W, C] with every pixel a square of `zoom` x `zoom`."""
  return image.repeat(zoom, axis=-3).repeat(zoom, axis=-2)


def grid(
  images: Array, columns: int, *, zoom: int | None = None, gap: int = 2
) -> np.ndarray:
  """Images side by side, row by row, on white.

  Args:
    images: uint8 [N, H, W, C], N >= 1.
    columns: images a row.
    zoom: whole factor of enlargement; by default, small images are enlarged to
      some 72 pixels.
    gap: white pixels between images, and around them all.

  Returns:
    uint8 [rows (zoom H + gap) + gap, columns (zoom W + gap) + gap, C].
  """
  images = np.asarray(images)
  images = _enlarge(images, zoom or max(1, 72 // max(images.shape[1:3])))
  count, height, width, channels = images.shape
  columns = min(columns, count)
  rows = -(-count // columns)
  height, width = height + gap, width + gap
  canvas = np.full(
    (rows * height + gap, columns * width + gap, channels), 255, np.uint8
  )
  for i, image in enumerate(images):
    top, left = (i // columns) * height + gap, (i % columns) * width + gap
    canvas[top : top + height - gap, left : left + width - gap] = image
  return canvas


def png(image: Array) -> bytes:
  """The PNG file of one image uint8 [H, W, C], C in 1 (grey), 3, 4 (RGBA)."""
  from PIL import Image

  image = np.asarray(image)
  target = io.BytesIO()
  grey = image.shape[-1] == 1
  Image.fromarray(image[..., 0] if grey else image).save(target, 'png')
  return target.getvalue()


def write(
  path: str | os.PathLike[str], content: bytes, *, sync: bool = False
) -> None:
  """Writes a file whole or not at all: a temporary one takes its name.

  Args:
    path: of the file; its folder is made.
    content: of the file.
    sync: whether it must be whole after a loss of power too.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # Process ids of several hosts may be equal, and their folder the same.
  partial = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:12]}')
  try:
    with partial.open('wb') as file:
      file.write(content)
      if sync:
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def save_png(path: str | os.PathLike[str], image: Array) -> None:
  """Writes an image uint8 [H, W, C] as a PNG file, whole or not at all."""
  write(path, png(image))


@functools.cache
def _font() -> Any:
  """The typeface of matplotlib, which has Greek and comes with the wheel."""
  import matplotlib
  from PIL import ImageFont

  path = pathlib.Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')
  return ImageFont.truetype(str(path), TEXT)


def table(
  cells: Sequence[Sequence[Array]],
  *,
  rows: Sequence[str] = (),
  columns: Sequence[str] = (),
  split: int = 0,
) -> np.ndarray:
  """A labelled table of images on a transparent ground.

  Args:
    cells: rows of images uint8 [H, W, C] of one size; rows may be short.
    rows: a name for every row, or none.
    columns: a name for every column, or none.
    split: rows above a wider gap; 0 for no such gap.

  Returns:
    RGBA, uint8 [H, W, 4], at twice its CSS size.
  """
  from PIL import Image, ImageDraw

  gap, wide = 6, 20
  left = int(max(map(_font().getlength, rows), default=-16)) + 16
  top = 2 * TEXT - 10 if columns else 0
  most = max(map(len, cells))
  height, width = np.shape(cells[0][0])[:2]
  zoom = max(1, min((PAGE - left) // most - gap, max(96, 2 * width)) // width)
  height, width = zoom * height, zoom * width
  canvas = Image.new(
    'RGBA',
    (
      left + most * (width + gap) - gap,
      top + len(cells) * (height + gap) - gap + (wide if split else 0),
    ),
  )
  draw = ImageDraw.Draw(canvas)
  style = {'fill': GREY, 'font': _font()}
  for j, name in enumerate(columns):
    middle = left + j * (width + gap) + width // 2
    draw.text((middle, top - 10), name, anchor='ms', **style)
  for i, row in enumerate(cells):
    y = top + i * (height + gap) + (wide if split and i >= split else 0)
    for name in rows[i : i + 1]:
      draw.text((left - 16, y + height // 2), name, anchor='rm', **style)
    for j, cell in enumerate(row):
      pixels = _enlarge(np.asarray(cell), zoom)
      image = Image.fromarray(
        pixels.repeat(3, axis=-1) if pixels.shape[-1] == 1 else pixels
      )
      canvas.paste(image, (left + j * (width + gap), y))
  return np.asarray(canvas)


def panel(
  cells: Sequence[Sequence[Array]],
  *,
  rows: Sequence[str] = (),
  columns: Sequence[str] = (),
  split: int = 0,
) -> bytes:
  """The PNG file of a `table`."""
  return png(table(cells, rows=rows, columns=columns, split=split))


def class_grid(
  images: Array, labels: Array, names: Sequence[str], columns: int = 14
) -> bytes:
  """Samples by class: a row a class, its name on the left.

  Args:
    images: uint8 [N, H, W, C].
    labels: [N], class of each image as an index into `names`.
    names: of the classes; those without an image get no row.
    columns: images a class at most, the first ones.
  """
  images, labels = np.asarray(images), np.asarray(labels)
  present = [i for i in range(len(names)) if (labels == i).any()]
  return panel(
    [images[labels == i][:columns] for i in present],
    rows=[names[i] for i in present],
  )


def denoising_strip(frames: Array, levels: Sequence[str]) -> bytes:
  """How samples come out of noise: a row a sample, a column a noise level.

  Args:
    frames: uint8 [T, N, H, W, C], the trajectory at T noise levels.
    levels: T names, such as 'σ 1.5'.
  """
  return panel(np.moveaxis(np.asarray(frames), 1, 0), columns=levels)


def nearest_pairs(samples: Array, neighbours: Array) -> bytes:
  """Samples in the top row, under each its nearest training images.

  Args:
    samples: uint8 [N, H, W, C].
    neighbours: uint8 [N, k, H, W, C], nearest first.
  """
  below = np.moveaxis(np.asarray(neighbours), 1, 0)
  names = ['sample', 'nearest', *['next'] * (len(below) - 1)]
  return panel([np.asarray(samples), *below], rows=names, split=1)


def blank(x: str, y: str, *, high: float = 3.1) -> tuple[Any, Any]:
  """An empty figure, 720 CSS pixels wide, and its axes.

  Args:
    x: name and unit of the horizontal axis.
    y: of the vertical one.
    high: hundreds of CSS pixels.
  """
  from matplotlib import figure

  canvas = figure.Figure(figsize=(7.2, high), dpi=200, layout='constrained')
  axes = canvas.subplots()
  ruled(axes, x, y)
  return canvas, axes


def ruled(axes: Any, x: str, y: str) -> None:
  """Names the axes of a plot, and draws them lightly."""
  axes.set_xlabel(x, color=INK, fontsize=9)
  axes.set_ylabel(y, color=INK, fontsize=9)
  axes.tick_params(colors=INK, labelsize=8, length=3, which='both')
  axes.grid(color='#e4e4e4', linewidth=0.7)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color('#999999')


def finish(canvas: Any, axes: Any) -> bytes:
  """The PNG file of a figure, with a legend if it has several lines."""
  if len(axes.get_legend_handles_labels()[1]) > 1:
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
  target = io.BytesIO()
  canvas.savefig(target, format='png')
  return target.getvalue()


def smooth(values: Array, window: int) -> np.ndarray:
  """Mean over a centred window [N].

  It narrows towards the start, where losses fall fastest, and is cut off at the
  end, where they are level.
  """
  values = np.asarray(values, np.float64)
  sums = np.concatenate([[0.0], np.cumsum(values)])
  middle = np.arange(len(values))
  half = np.minimum(window // 2, middle)
  low, high = middle - half, np.minimum(middle + half + 1, len(values))
  return (sums[high] - sums[low]) / (high - low)


def loss_by_step(steps: Array, losses: Array, *, log_x: bool = False) -> bytes:
  """The training loss, raw and smoothed over a fiftieth of its points.

  Args:
    steps: [N], increasing; positive where log_x.
    losses: [N], finite and positive: their axis is logarithmic.
    log_x: whether the axis of steps is logarithmic.
  """
  canvas, axes = blank('training step', 'loss')
  axes.plot(steps, losses, color=COLOURS[0], alpha=0.25, lw=0.7, label='raw')
  window = max(1, len(losses) // 50)
  axes.plot(
    steps, smooth(losses, window), color=COLOURS[0], lw=1.6, label='smoothed'
  )
  axes.set_yscale('log')
  plain_ticks(axes.yaxis)
  if log_x:
    axes.set_xscale('log')
    plain_ticks(axes.xaxis)
  axes.margins(x=0.01)
  return finish(canvas, axes)


def plain_ticks(axis: Any) -> None:
  """Marks a logarithmic axis in plain numbers, however short it is."""
  from matplotlib import ticker

  low, high = axis.get_view_interval()
  decades = np.log10(high / low)
  subs = (1,) if decades > 3 else (1, 2, 5)
  axis.set_major_locator(
    ticker.LogLocator(subs=subs) if decades > 1 else ticker.MaxNLocator(6)
  )
  axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:,g}'))
  axis.set_minor_formatter(ticker.NullFormatter())


def loss_by_level(
  levels: Array,
  losses: Mapping[str, Array],
  *,
  x: str = 'log-SNR (nats)',
  y: str = 'loss',
) -> bytes:
  """The loss at each noise level, such as of training and held-out images.

  Args:
    levels: [N].
    losses: by name, each [N].
    x: name and unit of the levels.
    y: name and unit of the losses.
  """
  canvas, axes = blank(x, y)
  for (name, values), colour, dash in zip(
    losses.items(), COLOURS, ('-', '--', ':', '-.', '-', '--'), strict=False
  ):
    axes.plot(levels, values, dash, color=colour, lw=1.6, label=name)
  axes.set_ylim(bottom=0)
  axes.margins(x=0.01)
  return finish(canvas, axes)


def histogram(
  values: Mapping[str, Array],
  *,
  x: str,
  bins: int = 60,
  mark: float | None = None,
) -> bytes:
  """Shares of values, on bins that all sets have in common.

  Args:
    values: by name, each [N].
    x: name and unit of the values.
    bins: how many.
    mark: where a dashed line is drawn.
  """
  low, high = (f([f(v) for v in values.values()]) for f in (np.min, np.max))
  edges = np.linspace(low, high if high > low else low + 1, bins + 1)
  shares = {
    name: np.histogram(each, edges)[0] / len(each)
    for name, each in values.items()
  }
  return steps(shares, edges, x=x, y='share', mark=mark)


def steps(
  shares: Mapping[str, Array],
  edges: Array,
  *,
  x: str,
  y: str,
  mark: float | None = None,
) -> bytes:
  """Numbers of bins, as steps.

  Args:
    shares: by name, each [N].
    edges: [N + 1], of the bins.
    x: name and unit of the edges.
    y: of the numbers.
    mark: where a dashed line is drawn.
  """
  canvas, axes = blank(x, y)
  for (name, each), colour, dash in zip(
    shares.items(), COLOURS, ('-', '--', ':', '-.', '-', '--'), strict=False
  ):
    axes.stairs(each, edges, color=colour, lw=1.6, ls=dash, label=name)
  if mark is not None:
    axes.axvline(mark, color='#999999', lw=1, ls='--')
  axes.set_ylim(bottom=0)
  axes.margins(x=0.01)
  return finish(canvas, axes)
