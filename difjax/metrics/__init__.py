"""Figures of merit: pure functions of features [N, d] and their statistics.

Nothing here knows what the features are: pixels of small images, or the
activations of a network. Importing the package imports numpy alone; scipy and
scikit-learn come with the first call that needs them.
"""

from __future__ import annotations

from difjax.metrics.classifier import Classifier, fit_classifier
from difjax.metrics.frechet import frechet_distance
from difjax.metrics.nearest import nearest_neighbours, nearest_ratio
from difjax.metrics.precision_recall import Overlap, overlap
from difjax.metrics.statistics import Gaussian, Moments
from difjax.metrics.two_sample import two_sample_accuracy

__all__ = [
  'Classifier',
  'Gaussian',
  'Moments',
  'Overlap',
  'fit_classifier',
  'frechet_distance',
  'nearest_neighbours',
  'nearest_ratio',
  'overlap',
  'two_sample_accuracy',
]
