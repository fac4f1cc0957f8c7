"""Objectives: what is trained, on which times, with which weights."""

from difjax.objectives.base import Generative, Objective
from difjax.objectives.bound import Large, Learned, Small
from difjax.objectives.classifier import Classifier
from difjax.objectives.denoising import Denoising, half_sum, mean
from difjax.objectives.hybrid import Hybrid, ImportanceHybrid
from difjax.objectives.times import (
  EquivalentTimes,
  LevelTimes,
  LikelihoodImportanceTimes,
  LogitNormalTimes,
  LogNormalTimes,
  Times,
  UniformTimes,
)
from difjax.objectives.uncertainty import UncertaintyDenoising
from difjax.objectives.weightings import (
  EDMWeighting,
  LikelihoodWeighting,
  MinSNRWeighting,
  SigmoidWeighting,
  TruncatedSNRWeighting,
  UniformWeighting,
  Weighting,
)

__all__ = [
  'Classifier',
  'Denoising',
  'EDMWeighting',
  'EquivalentTimes',
  'Generative',
  'Hybrid',
  'ImportanceHybrid',
  'Large',
  'Learned',
  'LevelTimes',
  'LikelihoodImportanceTimes',
  'LikelihoodWeighting',
  'LogNormalTimes',
  'LogitNormalTimes',
  'MinSNRWeighting',
  'Objective',
  'SigmoidWeighting',
  'Small',
  'Times',
  'TruncatedSNRWeighting',
  'UncertaintyDenoising',
  'UniformTimes',
  'UniformWeighting',
  'Weighting',
  'half_sum',
  'mean',
]
