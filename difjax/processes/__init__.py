"""Diffusion processes: how data become noise, as two functions of time."""

from difjax.processes.base import Process
from difjax.processes.discrete import CosineBetas, Ladder, LinearBetas
from difjax.processes.flow import RectifiedFlow
from difjax.processes.transforms import Rescaled, Shifted
from difjax.processes.ve import EDM, VE, Brownian
from difjax.processes.vp import VP, Cosine, SubVP

__all__ = [
  'EDM',
  'VE',
  'VP',
  'Brownian',
  'Cosine',
  'CosineBetas',
  'Ladder',
  'LinearBetas',
  'Process',
  'RectifiedFlow',
  'Rescaled',
  'Shifted',
  'SubVP',
]
