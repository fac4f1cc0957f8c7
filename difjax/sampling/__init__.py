"""Sampling: time grids, solvers, and the ways to run them."""

from difjax.sampling.ancestral import DDIM
from difjax.sampling.grids import (
  Grid,
  Karras,
  Levels,
  LogSNR,
  Quadratic,
  Table,
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
from difjax.sampling.likelihood import (
  Exact,
  Gaussian,
  Rademacher,
  decode,
  encode,
  interpolate,
  log_likelihood,
)
from difjax.sampling.noise import Keys, Noise, Recorded, image_keys
from difjax.sampling.ode import AdaptiveODE
from difjax.sampling.resampling import Resampled
from difjax.sampling.samplers import FixedGrid, Sampler, sample, trajectory
from difjax.sampling.singlestep import Euler, Heun
from difjax.sampling.solver import Solver
from difjax.sampling.stochastic import EulerMaruyama, ReverseDiffusion

__all__ = [
  'DDIM',
  'AdaptiveODE',
  'AnnealedLangevin',
  'CorrectedGrid',
  'Euler',
  'EulerMaruyama',
  'Exact',
  'FixedGrid',
  'Gaussian',
  'Grid',
  'Heun',
  'Idle',
  'Karras',
  'Keys',
  'Langevin',
  'Levels',
  'LogSNR',
  'Noise',
  'PredictorCorrector',
  'Quadratic',
  'Rademacher',
  'Recorded',
  'Resampled',
  'ReverseDiffusion',
  'Sampler',
  'Solver',
  'Table',
  'Uniform',
  'couples',
  'decode',
  'encode',
  'image_keys',
  'interpolate',
  'log_likelihood',
  'sample',
  'trajectory',
]
