"""Where metrics go: a JSON-lines file, TensorBoard, W&B, the console.

Only process 0 writes. A run that resumes at step n drops what was written after
n, so that every step appears once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import sys
import time
import uuid
from collections.abc import Mapping
from typing import IO, Protocol

import numpy as np
import tqdm

from difjax import errors

Scalars = Mapping[str, float]


class Writer(Protocol):
  """A place for metrics, open from `step` on."""

  def scalars(self, step: int, values: Scalars) -> None:
    """Writes numbers."""

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, C]."""

  def close(self) -> None:
    """Flushes and closes."""


class JsonLines:
  """`metrics.jsonl`: an object a line, `step` first."""

  def __init__(self, workdir: pathlib.Path, step: int) -> None:
    file = workdir / 'metrics.jsonl'
    kept = [row for row in read_metrics(workdir) if row['step'] <= step]
    partial = file.with_suffix('.partial')
    partial.write_text(''.join(json.dumps(row) + '\n' for row in kept))
    partial.rename(file)
    self._stream = file.open('a')

  def scalars(self, step: int, values: Scalars) -> None:
    """Appends a line and flushes it."""
    self._stream.write(json.dumps({'step': step, **values}) + '\n')
    self._stream.flush()

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Leaves pictures to other writers."""
    del step, name, image

  def close(self) -> None:
    """Closes the file."""
    self._stream.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, float]]:
  """Reads `metrics.jsonl`; a line that a crash cut short is left out."""
  file = workdir / 'metrics.jsonl'
  rows = []
  for line in file.read_text().splitlines() if file.exists() else ():
    try:
      rows.append(json.loads(line))
    except ValueError:
      continue
  return rows


class TensorBoard:
  """TensorBoard event files in `tensorboard/`."""

  def __init__(self, workdir: pathlib.Path, step: int) -> None:
    import tensorboardX  # slow to import, and not every run wants it

    self._writer = tensorboardX.SummaryWriter(
      str(workdir / 'tensorboard'), purge_step=step + 1
    )

  def scalars(self, step: int, values: Scalars) -> None:
    """Writes numbers."""
    for name, value in values.items():
      self._writer.add_scalar(name, value, step)

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a picture."""
    self._writer.add_image(name, image, step, dataformats='HWC')

  def close(self) -> None:
    """Closes the event file."""
    self._writer.close()


class WandB:
  """Weights & Biases; the run's id is kept in the work directory."""

  def __init__(self, workdir: pathlib.Path, step: int, project: str) -> None:
    try:
      import wandb
    except ImportError:
      raise errors.ConfigError(
        'config.wandb needs the package wandb: pip install difjax[wandb]'
      ) from None
    file = workdir / 'wandb_id'
    if not file.exists():
      file.write_text(uuid.uuid4().hex[:12])
    del step  # the service drops rows of steps that it has
    self._image = wandb.Image
    self._run = wandb.init(
      project=project, id=file.read_text(), dir=str(workdir), resume='allow'
    )

  def scalars(self, step: int, values: Scalars) -> None:
    """Writes numbers."""
    self._run.log(dict(values), step=step)

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a picture."""
    self._run.log({name: self._image(image)}, step=step)

  def close(self) -> None:
    """Ends the run's session."""
    self._run.finish()


@dataclasses.dataclass(kw_only=True)
class Console:
  """A progress bar on a terminal, a line now and then elsewhere.

  The first row is a line at once, so that somebody who started a run sees that
  it goes; in the first minute lines are as dense as that is of interest.

  Attributes:
    total: steps in all.
    step: steps done at the start.
    seconds: least time between two plain lines.
    early: likewise, in the first `seconds`.
    stream: where to.
  """

  total: int
  step: int = 0
  seconds: float = 60.0
  early: float = 10.0
  stream: IO[str] = dataclasses.field(default_factory=lambda: sys.stderr)

  def __post_init__(self) -> None:
    self._began: float | None = None  # when the first row came
    self._last = -math.inf
    self._bar = (
      tqdm.tqdm(
        total=self.total, initial=self.step, file=self.stream,
        desc='train', unit='step', dynamic_ncols=True,
      )
      if self.stream.isatty()
      else None
    )  # fmt: skip

  def scalars(self, step: int, values: Scalars) -> None:
    """Shows loss, speed and the time that is left."""
    shown = _shown(values)
    if self._bar is not None:
      self._bar.set_postfix_str(shown, refresh=False)
      self._bar.update(step - self._bar.n)
      return
    now = time.monotonic()
    self._began = now if self._began is None else self._began
    pause = self.early if now - self._began < self.seconds else self.seconds
    if now - self._last >= pause or step >= self.total:
      left = (self.total - step) / values['perf/steps_per_s']
      eta = tqdm.tqdm.format_interval(left)
      print(
        f'step {step:,}/{self.total:,}  {shown}  ETA {eta}',
        file=self.stream, flush=True,
      )  # fmt: skip
      self._last = now

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Leaves pictures to other writers."""
    del step, name, image

  def close(self) -> None:
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()


def _shown(values: Scalars) -> str:
  """Spells what people look for in a row."""
  shown = f'loss {values["train/loss"]:.4g}'
  shown += f'  {values["perf/images_per_s"]:,.0f} images/s'
  if 'perf/mfu' in values:
    shown += f'  MFU {values["perf/mfu"]:.1%}'
  if values.get('train/skipped'):
    shown += f'  {values["train/skipped"]:,.0f} skipped'
  return shown
