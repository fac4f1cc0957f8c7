"""Objectives: what is trained, on which times, with which weights."""

from difjax.objectives.base import Generative, Objective
from difjax.objectives.denoising import Denoising, half_sum, mean
from difjax.objectives.times import (
  LevelTimes,
  LikelihoodImportanceTimes,
  LogitNormalTimes,
  LogNormalTimes,
  Times,
  UniformTimes,
)
from difjax.objectives.weightings import (
  EDMWeighting,
  LikelihoodWeighting,
  MinSNRWeighting,
  SigmoidWeighting,
  UniformWeighting,
  Weighting,
)

__all__ = [
  'Denoising',
  'EDMWeighting',
  'Generative',
  'LevelTimes',
  'LikelihoodImportanceTimes',
  'LikelihoodWeighting',
  'LogNormalTimes',
  'LogitNormalTimes',
  'MinSNRWeighting',
  'Objective',
  'SigmoidWeighting',
  'Times',
  'UniformTimes',
  'UniformWeighting',
  'Weighting',
  'half_sum',
  'mean',
]
