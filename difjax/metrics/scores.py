"""Scores that networks give to images: Inception Score and CLIP score.

Are the images clear each, and many together? With class probabilities p_i of N
images and their mean q (Salimans et al. 2016, arXiv 1606.03498),

  (1)  IS = exp 1/N sum_i KL(p_i | q) = exp(H(q) - 1/N sum_i H(p_i)),

from 1 to the number of classes. It grows with N, so codes disagree by how they
cut a set into parts: each part gives (1), and the mean over parts is the score.
score_sde takes one part, ADM's evaluator consecutive parts of 5,000, and
torch-fidelity ten parts of a seeded shuffle. (ADM's logits lack the bias of the
last layer besides: that is up to whoever makes them.)

Do images show what their captions say? With embeddings u of an image and v of
its caption (Hessel et al. 2021, arXiv 2104.08718),

  (2)  cos(u, v) = u.v / (|u| |v|),    score = w max(cos(u, v), 0), w = 2.5;

other codes leave the maximum out, or take w = 1 or 100. The figure means
nothing without the name of the network and its weights.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from difjax import errors
from difjax.metrics import statistics
from difjax.typing import Array

_ROWS = 4096  # probabilities held at once


class Parts(Protocol):
  """How a set is cut into parts."""

  def __call__(self, count: int) -> list[np.ndarray]:
    """Indices of each part of `count` images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consecutive:
  """Parts of a fixed size in the order of the images; the last may be smaller.

  Attributes:
    size: images a part.
  """

  size: int = 5000

  def __call__(self, count: int) -> list[np.ndarray]:
    """Indices of each part of `count` images."""
    return np.split(np.arange(count), np.arange(self.size, count, self.size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
  """A number of parts, equal up to one image.

  Attributes:
    count: parts, at most one an image.
    seed: of the shuffle before; None keeps the order.
  """

  count: int = 10
  seed: int | None = 2020

  def __call__(self, count: int) -> list[np.ndarray]:
    """Indices of each part of `count` images."""
    indices = np.arange(count)
    if self.seed is not None:
      indices = np.random.RandomState(self.seed).permutation(count)
    return np.split(indices, np.arange(1, self.count) * count // self.count)


ADM = Consecutive()
SCORE_SDE = Shares(count=1, seed=None)
TORCH_FIDELITY = Shares()


def inception_score(
  logits: Array, parts: Parts = SCORE_SDE
) -> statistics.Estimate:
  """Mean and deviation of (1) over parts of the images.

  Args:
    logits: [N, K], unnormalised log-probabilities of K classes.
    parts: how the images are cut: ADM, SCORE_SDE, TORCH_FIDELITY or your own.

  Raises:
    DataError: malformed logits, or fewer images than parts.
  """
  logits = statistics.as_features(logits)
  indices = parts(len(logits))
  if not all(map(len, indices)):
    raise errors.DataError(
      f'{len(logits)} images cannot be cut into {len(indices)} parts: give '
      'more images or set fewer parts'
    )
  scores = [_score(logits[part]) for part in indices]
  return statistics.Estimate(float(np.mean(scores)), float(np.std(scores)))


def clip_score(
  images: Array, captions: Array, weight: float = 1.0, clamp: bool = False
) -> float:
  """Mean score (2) of images and the captions they belong to.

  Args:
    images: embeddings [N, d].
    captions: embeddings [N, d], in the order of the images.
    weight: w in (2).
    clamp: whether negative cosines count as 0.

  Raises:
    DataError: malformed embeddings, of different shapes, or one that is 0.
  """
  u, v = statistics.as_features(images), statistics.as_features(captions)
  if u.shape != v.shape:
    raise errors.DataError(
      f'embeddings of images {u.shape} and of captions {v.shape} do not pair '
      'up: give one caption an image'
    )
  norms = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
  if not norms.all():
    raise errors.DataError('an embedding is 0, which has no direction')
  cosines = np.sum(u * v, axis=1) / norms
  return float(weight * np.mean(np.maximum(cosines, 0) if clamp else cosines))


def _score(logits: np.ndarray) -> float:
  """Equation (1) of one part [n, K]."""
  total, negative_entropy = np.zeros(logits.shape[1]), 0.0
  for start in range(0, len(logits), _ROWS):
    rows = logits[start : start + _ROWS]
    rows = rows - rows.max(axis=1, keepdims=True)
    p = np.exp(rows)
    sums = p.sum(axis=1, keepdims=True)
    p /= sums
    total += p.sum(axis=0)
    negative_entropy += np.sum(p * (rows - np.log(sums)))
  q = total / len(logits)
  q = q[q > 0]  # 0 log 0 = 0
  return float(np.exp(negative_entropy / len(logits) - np.sum(q * np.log(q))))
