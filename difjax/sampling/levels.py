r"""Grids that are levels of a table: the official integer time steps.

Level i = 0 .. T-1 of a tabulated process is at time (i + 1) / T. With k from
N - 1 down to 0, N levels of T are

  linspace   i = round(k (T - 1) / (N - 1))                               (1)
  leading    i = k floor(T / N) + offset                                  (2)
  trailing   i = round((k + 1) T / N) - 1                                 (3)
  quadratic  i = floor((k sqrt(0.8 T) / (N - 1))^2)                       (4)
  respaced   (1) in each of some sections of equal length                 (5)
  strided    i = k m, m the stride that gives N levels                    (6)
  bounded    round(j (M - 1) / (N - 1)) of the M levels between two
             noise levels, j = 0 .. N-1 from the noisiest                 (7)

(1) to (3) are the spacings of diffusers, (2) and (4) those of DDIM, (5) and (6)
ADM's "250" or "10,15,20" and "ddim25", (7) EDM's pick of iDDPM's. The samplers
of DPM-Solver in diffusers make one level more and leave out the last: `spare`.

Sources: Song, Meng & Ermon 2021, appendix D.2; Nichol & Dhariwal 2021, section
4; Karras et al. 2022, table 1; Lin et al. 2024, Common Diffusion Noise
Schedules and Sample Steps are Flawed, table 2.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from difjax import errors
from difjax.processes import discrete


def _times(process: discrete.Tabulated, index: np.ndarray) -> np.ndarray:
  return (np.asarray(index, np.float64) + 1) / process.levels


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Count:
  """A number of levels.

  Attributes:
    steps: N.
  """

  steps: int

  def __post_init__(self) -> None:
    if self.steps < 1:
      raise ValueError(f'steps must be at least 1, not {self.steps}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels(_Count):
  """Evenly spaced levels of a tabulated process, first and last included (1).

  `steps` equal to the process's levels gives DDPM's own 1,000 steps.

  Attributes:
    spare: levels more that are made and left out at the data's end.
  """

  spare: int = 0

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N]."""
    index = np.linspace(process.levels - 1, 0, self.steps + self.spare)
    return _times(process, np.round(index)[: self.steps])


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeadingLevels(_Count):
  """Levels at a whole stride from the first one (2).

  Attributes:
    offset: added to every level; 1 for Stable Diffusion.
    spare: levels more that are made and left out at the data's end.
  """

  offset: int = 0
  spare: int = 0

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N]."""
    count = self.steps + self.spare
    index = np.arange(count)[::-1] * (process.levels // count) + self.offset
    return _times(process, index[: self.steps])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrailingLevels(_Count):
  """Levels at a stride from the last one (3)."""

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N]."""
    stride = process.levels / self.steps
    return _times(process, np.round(np.arange(self.steps, 0, -1) * stride) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuadraticLevels(_Count):
  """Levels uniform in their root, up to four fifths of the table (4)."""

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N]."""
    roots = np.linspace(0, math.sqrt(0.8 * process.levels), self.steps)
    return _times(process, np.floor(roots**2)[::-1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RespacedLevels:
  """Evenly spaced levels in each of some sections (5).

  Attributes:
    counts: levels of each section, from the data's end; (250,) is "250".
  """

  counts: tuple[int, ...]

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N].

    Raises:
      ConfigError: when a section has fewer levels than are asked of it.
    """
    size, more = divmod(process.levels, len(self.counts))
    index, start = [], 0
    for section, count in enumerate(self.counts):
      length = size + (section < more)
      if not 0 < count <= length:
        raise errors.ConfigError(
          f'RespacedLevels: section {section} has {length} levels; its count '
          f'must be from 1 to that, not {count}'
        )
      stride = (length - 1) / max(count - 1, 1)
      # Sums, as the official code has them: it matters where halves round to.
      places = np.cumsum([0.0] + [stride] * (count - 1))
      index += [start + round(place) for place in places]
      start += length
    return _times(process, np.asarray(index)[::-1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class StridedLevels(_Count):
  """Levels at the whole stride that gives so many (6)."""

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N].

    Raises:
      ConfigError: when no stride does.
    """
    for stride in range(1, process.levels):
      index = np.arange(0, process.levels, stride)
      if len(index) == self.steps:
        return _times(process, index[::-1])
    raise errors.ConfigError(
      f'StridedLevels: no stride gives {self.steps} of {process.levels} '
      'levels; sampling.Levels takes any number of steps'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundedLevels(_Count):
  """Evenly spaced levels among those between two noise levels (7).

  Attributes:
    sigma_min: least sigma / alpha.
    sigma_max: greatest sigma / alpha.
  """

  sigma_min: float = 0.002
  sigma_max: float = 81.0

  def __call__(self, process: discrete.Tabulated) -> np.ndarray:
    """Returns the times [N]."""
    sigma = np.exp(-0.5 * process.logsnr_table())
    inside = np.flatnonzero(
      (self.sigma_min <= sigma) & (sigma <= self.sigma_max)
    )[::-1]
    place = np.round(np.linspace(0, len(inside) - 1, self.steps))
    return _times(process, inside[place.astype(int)])
