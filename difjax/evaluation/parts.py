"""What `difjax evaluate` runs: parts of a config that judge a model."""

from __future__ import annotations

import io
import json
import pathlib
import time
import types
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import tqdm

from difjax.evaluation import plots, samples, trained
from difjax.sampling import samplers


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


def sampled(
  model: trained.Trained,
  sampler: samplers.Sampler,
  count: int,
  *,
  size: int,
  seed: int,
) -> tuple[np.ndarray, np.ndarray, float]:
  """Samples the first images of a seed, all classes in turn, with progress.

  Args:
    model: what to sample from.
    sampler: how.
    count: how many.
    size: images in a block.
    seed: of the set.

  Returns:
    Images uint8 [N, H, W, C], evaluations int [N], and the seconds it took.

  Raises:
    NonFiniteError: an image has values that are not finite.
  """
  indices = np.arange(count)
  began = time.monotonic()
  with tqdm.tqdm(
    total=count, desc='samples', unit='image', disable=None
  ) as bar:
    made, evaluations = samples.generate(
      model.objective, sampler, model.params, shape=model.shape,
      indices=indices, seed=seed, size=size,
      labels=samples.default_labels(indices, model.num_classes),
      advance=bar.update,
    )  # fmt: skip
  return made, evaluations, time.monotonic() - began
