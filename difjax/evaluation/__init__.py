"""Evaluation: samples, what they are worth, and the page that shows it."""

from difjax.evaluation.controlled import (
  ClassifierGuidance,
  Restoration,
  mask,
)
from difjax.evaluation.feature_nets import Pixels
from difjax.evaluation.feature_peer import PytorchFidPeer
from difjax.evaluation.figures import Figures
from difjax.evaluation.gallery import Gallery
from difjax.evaluation.guided import Autoguidance, ClassifierFree, Threshold
from difjax.evaluation.host_speed import (
  CheckpointSpeed,
  InputSpeed,
  ShardSpeed,
  StartUp,
)
from difjax.evaluation.likelihood import (
  Likelihood,
  UniformDequantiser,
  VariationalBound,
)
from difjax.evaluation.memorised import Memorised
from difjax.evaluation.memorised_page import MemorisedSection
from difjax.evaluation.mixture import Mixture
from difjax.evaluation.peers import DiffusersPeer
from difjax.evaluation.planned import Slices
from difjax.evaluation.published import Published
from difjax.evaluation.quality import Quality
from difjax.evaluation.samples import SampleGrid, generate
from difjax.evaluation.scored import Scored
from difjax.evaluation.sections import GuidanceSection, RestorationSection
from difjax.evaluation.solver_study import SolverStudy
from difjax.evaluation.speed import (
  AttentionSpeed,
  FeatureSpeed,
  LoopSpeed,
  PeerSpeed,
  SamplerSpeed,
  StepSpeed,
)
from difjax.evaluation.study import Study
from difjax.evaluation.sweep import GuidanceSweep
from difjax.evaluation.trained import Trained, load

__all__ = [
  'AttentionSpeed',
  'Autoguidance',
  'CheckpointSpeed',
  'ClassifierFree',
  'ClassifierGuidance',
  'DiffusersPeer',
  'FeatureSpeed',
  'Figures',
  'Gallery',
  'GuidanceSection',
  'GuidanceSweep',
  'InputSpeed',
  'Likelihood',
  'LoopSpeed',
  'Memorised',
  'MemorisedSection',
  'Mixture',
  'PeerSpeed',
  'Pixels',
  'Published',
  'PytorchFidPeer',
  'Quality',
  'Restoration',
  'RestorationSection',
  'SampleGrid',
  'SamplerSpeed',
  'Scored',
  'ShardSpeed',
  'Slices',
  'SolverStudy',
  'StartUp',
  'StepSpeed',
  'Study',
  'Threshold',
  'Trained',
  'UniformDequantiser',
  'VariationalBound',
  'generate',
  'load',
  'mask',
]
