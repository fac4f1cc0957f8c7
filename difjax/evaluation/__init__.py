"""Evaluation: samples, what they are worth, and the page that shows it."""

from difjax.evaluation.controlled import (
  ClassifierGuidance,
  Restoration,
  mask,
)
from difjax.evaluation.gallery import Gallery
from difjax.evaluation.likelihood import (
  Likelihood,
  UniformDequantiser,
  VariationalBound,
)
from difjax.evaluation.quality import Quality
from difjax.evaluation.samples import SampleGrid, generate
from difjax.evaluation.sections import GuidanceSection, RestorationSection
from difjax.evaluation.study import Study
from difjax.evaluation.trained import Trained, load

__all__ = [
  'ClassifierGuidance',
  'Gallery',
  'GuidanceSection',
  'Likelihood',
  'Quality',
  'Restoration',
  'RestorationSection',
  'SampleGrid',
  'Study',
  'Trained',
  'UniformDequantiser',
  'VariationalBound',
  'generate',
  'load',
  'mask',
]
