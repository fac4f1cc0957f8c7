"""What score_sde keeps beside samples: the features that its FID is made of.

Its evaluation writes `statistics_0.npz` beside `samples_0.npz` and so on, one
file a round, with `pool_3` [n, 2048] and `logits` [n, 1008] of Inception-v3;
reading all of them, it has what FID, KID and the Inception Score need without
the images.
"""

from __future__ import annotations

import dataclasses
import operator
import pathlib

from difjax import metrics
from difjax.evaluation import sample_formats, sample_set
from difjax.metrics import features, resize

FOLDER = sample_formats.NAMED['score_sde'][0]


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
  """
  out = samples.folder / FOLDER if out is None else out
  extractor = dataclasses.replace(extractor, convention=resize.SCORE_SDE)
  select = operator.attrgetter('pool_3', 'logits')
  for i, index in enumerate(samples.blocks):
    place = out / f'statistics_{i}.npz'
    if not place.exists():
      found = extractor(samples.read(index).images, select, batch)
      metrics.write_features(place, *found)
  return out
