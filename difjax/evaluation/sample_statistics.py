"""What score_sde keeps beside samples: the features that its FID is made of.

Its evaluation writes `statistics_0.npz` beside `samples_0.npz` and so on, one
file a round, with `pool_3` [n, 2048] and `logits` [n, 1008] of Inception-v3;
reading all of them, it has what FID, KID and the Inception Score need without
the images. Beside them we note, under `about`, of which images and by which
weights they are.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import pathlib
import zipfile

import numpy as np

from difjax import errors, metrics
from difjax.evaluation import sample_formats, sample_set
from difjax.metrics import features, resize

FOLDER = sample_formats.NAMED['score_sde'].place


def score_sde(
  samples: sample_set.SampleSet,
  extractor: features.Extractor,
  out: pathlib.Path | None = None,
  batch: int = 32,
) -> pathlib.Path:
  """Writes the features of every block that has none yet.

  Args:
    samples: a whole set, whose blocks are score_sde's rounds.
    extractor: FID's Inception, or a network that gives `pool_3` and `logits`;
      images come to it as score_sde brings them, whatever its own convention.
    out: the folder; None for that of `sample_formats.score_sde`.
    batch: images at once.

  Returns:
    The folder.

  Raises:
    DataError: a block cannot be read, or a file cannot be written.
    ConfigError: a file is there that is not of the block, or not of the
      network.
  """
  out = samples.folder / FOLDER if out is None else out
  extractor = dataclasses.replace(extractor, convention=resize.SCORE_SDE)
  select = operator.attrgetter('pool_3', 'logits')
  for i, index in enumerate(samples.blocks):
    place, images = out / f'statistics_{i}.npz', samples.read(index).images
    about = json.dumps({
      'images_sha256': sample_set.digest(images),
      'weights_sha256': extractor.sha256,
    })  # fmt: skip
    if not place.exists():
      found = extractor(images, select, batch)
      metrics.write_features(place, *found, about=about)
    elif _about(place) != about:
      raise errors.ConfigError(
        f'{place} holds no features of block {index} by these weights: remove '
        'it, or use another folder'
      )
  return out


def _about(file: pathlib.Path) -> str:
  """Returns what a file says of itself; '' where that is nothing."""
  try:
    with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as arrays:
      return str(arrays['about'])
  except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
    return ''
