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
from difjax.sampling.langevin import Langevin, PredictorCorrector
from difjax.sampling.noise import Keys, Noise, Recorded, image_keys
from difjax.sampling.ode import AdaptiveODE
from difjax.sampling.samplers import FixedGrid, Sampler, sample, trajectory
from difjax.sampling.singlestep import Euler, Heun
from difjax.sampling.solver import Solver
from difjax.sampling.stochastic import EulerMaruyama, ReverseDiffusion

__all__ = [
  'DDIM',
  'AdaptiveODE',
  'Euler',
  'EulerMaruyama',
  'FixedGrid',
  'Grid',
  'Heun',
  'Karras',
  'Keys',
  'Langevin',
  'Levels',
  'LogSNR',
  'Noise',
  'PredictorCorrector',
  'Quadratic',
  'Recorded',
  'ReverseDiffusion',
  'Sampler',
  'Solver',
  'Table',
  'Uniform',
  'image_keys',
  'sample',
  'trajectory',
]
