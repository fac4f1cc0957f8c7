"""Figures of merit: pure functions of features [N, d] and their statistics.

Nothing here knows what the features are: pixels of small images, or the
activations of a network. Importing the package imports numpy alone; scipy and
scikit-learn come with the first call that needs them.
"""

from __future__ import annotations

from difjax.metrics.classifier import Classifier, fit_classifier
from difjax.metrics.extraction import Extraction, extracted
from difjax.metrics.extrapolation import Limit, fd_infinity
from difjax.metrics.frechet import frechet_distance
from difjax.metrics.kernel import (
  Draws,
  Partition,
  Polynomial,
  Radial,
  kernel_distance,
)
from difjax.metrics.memorisation import (
  Memorisation,
  Neighbours,
  authentic,
  compared,
  memorised,
  neighbours,
)
from difjax.metrics.nearest import nearest_neighbours, nearest_ratio
from difjax.metrics.precision_recall import Overlap, overlap
from difjax.metrics.reference import (
  Reference,
  read_reference,
  write_features,
  write_meanflow,
  write_statistics,
)
from difjax.metrics.scores import (
  ADM,
  SCORE_SDE,
  TORCH_FIDELITY,
  Consecutive,
  Shares,
  clip_score,
  inception_score,
)
from difjax.metrics.statistics import Estimate, Gaussian, Moments
from difjax.metrics.two_sample import two_sample_accuracy

__all__ = [
  'ADM',
  'SCORE_SDE',
  'TORCH_FIDELITY',
  'Classifier',
  'Consecutive',
  'Draws',
  'Estimate',
  'Extraction',
  'Gaussian',
  'Limit',
  'Memorisation',
  'Moments',
  'Neighbours',
  'Overlap',
  'Partition',
  'Polynomial',
  'Radial',
  'Reference',
  'Shares',
  'authentic',
  'clip_score',
  'compared',
  'extracted',
  'fd_infinity',
  'fit_classifier',
  'frechet_distance',
  'inception_score',
  'kernel_distance',
  'memorised',
  'nearest_neighbours',
  'nearest_ratio',
  'neighbours',
  'overlap',
  'read_reference',
  'two_sample_accuracy',
  'write_features',
  'write_meanflow',
  'write_statistics',
]
