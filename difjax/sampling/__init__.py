"""Sampling: time grids, solvers, and the ways to run them."""

from difjax.sampling.adaptive import AdaptiveDPM
from difjax.sampling.ancestral import DDIM, DPMPPSDE, Ancestral
from difjax.sampling.churn import Churned, DiffusersChurned
from difjax.sampling.consistency import ConsistencyMultistep
from difjax.sampling.coordinates import InSigma, OnProcess, carried
from difjax.sampling.dpm_solver import DPMSolver1, DPMSolver2, DPMSolver3
from difjax.sampling.fast import DPMFast
from difjax.sampling.free_diffusion import (
  ConstantDiffusion,
  DecreasingDiffusion,
  HumpedDiffusion,
  LinearDiffusion,
  ReverseDiffusionRate,
  SDEEuler,
  SDEHeun,
  SigmaDiffusion,
)
from difjax.sampling.grids import (
  Beta,
  Grid,
  Karras,
  LogSNR,
  Matched,
  Picked,
  Polyexponential,
  Quadratic,
  Table,
  TimeShift,
  Uniform,
)
from difjax.sampling.langevin import (
  AnnealedLangevin,
  CorrectedGrid,
  Idle,
  Langevin,
  PredictorCorrector,
  couples,
)
from difjax.sampling.levels import (
  BoundedLevels,
  LeadingLevels,
  Levels,
  QuadraticLevels,
  RespacedLevels,
  StridedLevels,
  TrailingLevels,
)
from difjax.sampling.likelihood import (
  Exact,
  Gaussian,
  Rademacher,
  decode,
  encode,
  interpolate,
  log_likelihood,
)
from difjax.sampling.multistep import (
  DEIS,
  IPNDM,
  LMS,
  DPMSolverPP,
  MultistepDPMSolver,
  UniPC,
)
from difjax.sampling.noise import Keys, Noise, Recorded, image_keys
from difjax.sampling.ode import AdaptiveODE
from difjax.sampling.resampling import Resampled
from difjax.sampling.restart import Interval, Restart
from difjax.sampling.samplers import FixedGrid, Sampler, sample, trajectory
from difjax.sampling.sde_multistep import (
  DiffusersSDEDPMSolverPP,
  SDEDPMSolver,
  SDEDPMSolverPP,
)
from difjax.sampling.singlestep import Denoise, Euler, Heun, Midpoint
from difjax.sampling.solver import Solver
from difjax.sampling.stochastic import EulerMaruyama, ReverseDiffusion
from difjax.sampling.tables import (
  LogSNRCoordinate,
  RatioCoordinate,
  TimeCoordinate,
)

__all__ = [
  'DDIM',
  'DEIS',
  'DPMPPSDE',
  'IPNDM',
  'LMS',
  'AdaptiveDPM',
  'AdaptiveODE',
  'Ancestral',
  'AnnealedLangevin',
  'Beta',
  'BoundedLevels',
  'Churned',
  'ConsistencyMultistep',
  'ConstantDiffusion',
  'CorrectedGrid',
  'DPMFast',
  'DPMSolver1',
  'DPMSolver2',
  'DPMSolver3',
  'DPMSolverPP',
  'DecreasingDiffusion',
  'Denoise',
  'DiffusersChurned',
  'DiffusersSDEDPMSolverPP',
  'Euler',
  'EulerMaruyama',
  'Exact',
  'FixedGrid',
  'Gaussian',
  'Grid',
  'Heun',
  'HumpedDiffusion',
  'Idle',
  'InSigma',
  'Interval',
  'Karras',
  'Keys',
  'Langevin',
  'LeadingLevels',
  'Levels',
  'LinearDiffusion',
  'LogSNR',
  'LogSNRCoordinate',
  'Matched',
  'Midpoint',
  'MultistepDPMSolver',
  'Noise',
  'OnProcess',
  'Picked',
  'Polyexponential',
  'PredictorCorrector',
  'Quadratic',
  'QuadraticLevels',
  'Rademacher',
  'RatioCoordinate',
  'Recorded',
  'Resampled',
  'RespacedLevels',
  'Restart',
  'ReverseDiffusion',
  'ReverseDiffusionRate',
  'SDEDPMSolver',
  'SDEDPMSolverPP',
  'SDEEuler',
  'SDEHeun',
  'Sampler',
  'SigmaDiffusion',
  'Solver',
  'StridedLevels',
  'Table',
  'TimeCoordinate',
  'TimeShift',
  'TrailingLevels',
  'UniPC',
  'Uniform',
  'carried',
  'couples',
  'decode',
  'encode',
  'image_keys',
  'interpolate',
  'log_likelihood',
  'sample',
  'trajectory',
]
