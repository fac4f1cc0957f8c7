"""What else happens during training: the loop knows only this protocol.

Pictures, evaluations and logs are hooks; a config lists them, and nobody edits
the loop.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Protocol

import jax

from difjax.data import pipeline as pipelines
from difjax.objectives import base
from difjax.training import distributed, writers
from difjax.training import state as states


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What a hook may see of a run.

  Attributes:
    objective: what is trained.
    pipeline: what it is trained on.
    workdir: where files go.
    mesh: the devices.
    writers: where metrics go.
    directory: where checkpoints lie, if not in the work directory.
  """

  objective: base.Objective
  pipeline: pipelines.Pipeline
  workdir: pathlib.Path
  mesh: jax.sharding.Mesh
  writers: tuple[writers.Writer, ...]
  directory: str | None = None


class Hook(Protocol):
  """Something that happens every so many steps, in every process of a job.

  What it writes is written by the first process alone.
  """

  every: int

  def __call__(self, run: Run, step: int, state: states.TrainState) -> None:
    """Acts on the state after `step` steps; must not keep it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexLog:
  """Writes which examples each step saw to `indices.jsonl`.

  Attributes:
    every: 1, to see every step.
  """

  every: int = 1

  def __call__(self, run: Run, step: int, state: states.TrainState) -> None:
    """Appends the line of the step that was just done."""
    del state
    if not distributed.is_first():
      return
    epochs, indices = run.pipeline.indices(step - 1)
    row = {'step': step, 'epoch': epochs.tolist(), 'index': indices.tolist()}
    with (run.workdir / 'indices.jsonl').open('a') as stream:
      stream.write(json.dumps(row) + '\n')
