"""Features of a set of images, in one pass.

4 bytes are kept for each feature of an image: 400 MB for 50,000 images and
d = 2,048, and as much again for Inception's two kinds of logits, which are kept
where scores are wanted. Of the spatial features statistics alone are kept.
Statistics take features in chunks of a
fixed size, so that they do not follow from that of batches.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import tqdm

from difjax import errors, metrics
from difjax.evaluation import feature_nets, image_set

_ROWS = 2048  # features that statistics take at once
_BATCH = 256  # images that are read at once


class Gathered(NamedTuple):
  """Features of a set; None is what the network has not.

  Attributes:
    pooled: float32 [N, d].
    moments: of `pooled`.
    spatial: of the spatial features.
    logits: float32 [N, K].
    unbiased: float32 [N, K].
  """

  pooled: np.ndarray
  moments: metrics.Moments
  spatial: metrics.Moments | None
  logits: np.ndarray | None
  unbiased: np.ndarray | None


def gather(
  images: image_set.ImageSet, net: feature_nets.Net, what: str = 'features',
  scores: bool = True,
) -> Gathered:
  """Computes the features of a set in one pass.

  Args:
    images: the set.
    net: a network.
    what: what a bar of progress calls it.
    scores: whether logits are kept, for Inception Scores.

  Raises:
    DataError: an image cannot be read, the set is not what it says, or a
      feature is not finite.
  """
  kept: dict[str, np.ndarray] = {}
  unkept = {'spatial': None}
  if not scores:
    unkept |= {'logits': None, 'unbiased': None}
  done = 0
  spatial = _Streamed()
  with tqdm.tqdm(
    desc=what, total=len(images), unit='image',
    mininterval=0.1 if sys.stderr.isatty() else 30,
  ) as bar:  # fmt: skip
    for found in net(images.batches(_BATCH)):
      rows = slice(done, done + len(found.pooled))
      for name, leaf in found._replace(**unkept)._asdict().items():
        if leaf is not None:
          if name not in kept:
            kept[name] = np.empty((len(images), leaf.shape[1]), np.float32)
          kept[name][rows] = leaf
      if found.spatial is not None:
        spatial.add(found.spatial)
      done = rows.stop
      bar.update(len(found.pooled))
  if done != len(images):
    raise errors.DataError(
      f'the network of {net.names.distance} gave features of {done} of '
      f'{len(images)} images'
    )
  pooled = kept['pooled']
  moments = metrics.Moments.of_batches(image_set.rebatched([pooled], _ROWS))
  return Gathered(
    pooled, moments, spatial.moments(), kept.get('logits'),
    kept.get('unbiased'),
  )  # fmt: skip


class _Streamed:
  """Moments of features that come in batches of any size."""

  def __init__(self) -> None:
    self._done: metrics.Moments | None = None
    self._pending: list[np.ndarray] = []

  def add(self, batch: np.ndarray) -> None:
    """Takes a batch [n, d]."""
    self._pending.append(batch)
    if sum(map(len, self._pending)) >= _ROWS:
      whole = np.concatenate(self._pending)
      self._merge(whole[:_ROWS])
      self._pending = [whole[_ROWS:]]

  def moments(self) -> metrics.Moments | None:
    """Returns those of all batches; None where there was none."""
    for part in image_set.rebatched(self._pending, _ROWS):
      self._merge(part)
    self._pending = []
    return self._done

  def _merge(self, part: np.ndarray) -> None:
    new = metrics.Moments.of(part)
    self._done = new if self._done is None else self._done.merge(new)
