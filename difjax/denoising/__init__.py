"""Denoising: what a network predicts, and what follows from it."""

from difjax.denoising.conditioning import (
  InputMap,
  Linear,
  LogSigma,
  Sigma,
  UnitVariance,
  Unscaled,
)
from difjax.denoising.guidance import LogProb, classifier_guided
from difjax.denoising.prediction import Denoiser, Prediction, score, velocity
from difjax.denoising.restoration import (
  AveragePool,
  Grey,
  LinearOperator,
  Mask,
  Operator,
  Window,
  moment_matched,
  projected,
)
from difjax.denoising.targets import (
  Data,
  Noise,
  Preconditioned,
  Score,
  Target,
  V,
  Velocity,
)

__all__ = [
  'AveragePool',
  'Data',
  'Denoiser',
  'Grey',
  'InputMap',
  'Linear',
  'LinearOperator',
  'LogProb',
  'LogSigma',
  'Mask',
  'Noise',
  'Operator',
  'Preconditioned',
  'Prediction',
  'Score',
  'Sigma',
  'Target',
  'UnitVariance',
  'Unscaled',
  'V',
  'Velocity',
  'Window',
  'classifier_guided',
  'moment_matched',
  'projected',
  'score',
  'velocity',
]
