"""Features of a small classifier, learnt from the labelled images at hand.

Where no public feature network applies (28 x 28 clothes, 16 x 16 anything), a
perceptron that tells the classes apart sees more than pixels do. Distances on
such features compare only within one fit of one data set.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax.metrics import statistics
from difjax.typing import Array

_WIDTHS = (256, 64)  # of the hidden layers; the last are the features
_DECAY = 0.1  # keeps 8,000 images from being learnt by heart


@dataclasses.dataclass(frozen=True)
class Classifier:
  """A fitted perceptron.

  Attributes:
    layers: (weights [d, e], bias [e]) from the pixels to the logits.
  """

  layers: tuple[tuple[Array, Array], ...]

  def features(self, x: Array) -> np.ndarray:
    """Activations [N, 64] of the last hidden layer at x [N, d]."""
    h = np.asarray(x, np.float64)
    for weights, bias in self.layers[:-1]:
      h = np.maximum(h @ weights + bias, 0)
    return h

  def labels(self, x: Array) -> np.ndarray:
    """Likeliest labels [N] at x [N, d]."""
    weights, bias = self.layers[-1]
    return np.argmax(self.features(x) @ weights + bias, axis=-1)


def fit_classifier(x: Array, labels: Array, seed: int = 0) -> Classifier:
  """Fits a perceptron of two hidden layers to labelled images.

  Args:
    x: [N, d], about [-1, 1].
    labels: [N], each of 0 ... K - 1, K >= 3, at least twice.
    seed: of the start and of the tenth that says when to stop.

  Raises:
    DataError: malformed features.
  """
  from sklearn import neural_network

  x = statistics.as_features(x, at_least=20)
  network = neural_network.MLPClassifier(
    _WIDTHS, alpha=_DECAY, max_iter=40, early_stopping=True,
    random_state=seed,
  )  # fmt: skip
  network.fit(x, np.asarray(labels))
  return Classifier(
    tuple(zip(network.coefs_, network.intercepts_, strict=True))
  )
