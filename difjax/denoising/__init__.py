"""Denoising: what a network predicts, and what follows from it."""

from difjax.denoising.conditioning import (
  InputMap,
  Linear,
  LogSigma,
  UnitVariance,
  Unscaled,
)
from difjax.denoising.prediction import Denoiser, Prediction, score, velocity
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
  'Data',
  'Denoiser',
  'InputMap',
  'Linear',
  'LogSigma',
  'Noise',
  'Preconditioned',
  'Prediction',
  'Score',
  'Target',
  'UnitVariance',
  'Unscaled',
  'V',
  'Velocity',
  'score',
  'velocity',
]
