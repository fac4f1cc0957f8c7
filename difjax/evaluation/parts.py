"""What `difjax evaluate` runs: parts of a config that judge a model."""

from __future__ import annotations

import io
import json
import pathlib
import types
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from difjax.evaluation import plots, trained


class Found(NamedTuple):
  """What an evaluation found.

  Attributes:
    figures: numbers by name, for a table and a JSON file.
    arrays: numbers of every image, for an .npz file.
    pictures: uint8 [H, W, C], each for a .png file.
  """

  figures: dict[str, float | int]
  arrays: dict[str, np.ndarray]
  pictures: Mapping[str, np.ndarray] = types.MappingProxyType({})


class Evaluation(Protocol):
  """A figure, or some, of a trained model."""

  def __call__(self, model: trained.Trained) -> Found:
    """Evaluates the model."""


def write(
  evaluations: Mapping[str, Evaluation],
  model: trained.Trained,
  folder: pathlib.Path,
) -> None:
  """Runs evaluations; prints a table of each and writes NAME.json, .npz, .png.

  Args:
    evaluations: by name, in order.
    model: what is judged.
    folder: where the files go; it is made.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for name, evaluation in evaluations.items():
    found = evaluation(model)
    content = io.BytesIO()
    np.savez(content, **found.arrays)
    plots.write(folder / f'{name}.npz', content.getvalue())
    for picture, image in found.pictures.items():
      plots.save_png(folder / f'{name}_{picture}.png', image)
    figures = {'step': model.step, **found.figures}
    text = json.dumps(figures, indent=2) + '\n'
    plots.write(folder / f'{name}.json', text.encode())
    print(format_table(name, figures))


def format_table(name: str, figures: Mapping[str, float | int]) -> str:
  """Returns figures under their part's name, a line each."""
  width = max(map(len, figures))
  lines = [f'  {key:<{width}}  {value:.6g}' for key, value in figures.items()]
  return '\n'.join([name, *lines])
