r"""Multistep solvers of the reverse SDE: SDE-DPM-Solver++ and SDE-DPM-Solver.

The rules of `multistep` with noise, eta its scale: 0 is the ODE and 1 the
reverse SDE. On x_0, SDE-DPM-Solver++ is (2) in `tables`. On eps, with h =
lambda_s - lambda_t and lambda half the log-SNR,

  x_s = (alpha_s / alpha_t) x_t - (1 + eta) sigma_s I
        + sigma_s sqrt(eta (e^{2h} - 1)) z,                               (1)
  I = integral_0^1 h e^{h (1 - u)} eps(u) du,

whose long steps blow up; it is here for parity. With order 1 they are of weak
order 1, and of weak order 2 above. k-diffusion's `dpmpp_2m_sde` is order 2, its
`dpmpp_3m_sde` order 3 as shipped. Sources: Lu et al. 2022, DPM-Solver++,
section 5 and appendix B; for the third order k-diffusion.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from difjax.processes import base
from difjax.sampling import multistep, tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDEDPMSolverPP(multistep.DPMSolverPP):
  """SDE-DPM-Solver++: the reverse SDE on x_0.

  Attributes:
    eta: the scale of the noise; 0 is `DPMSolverPP`.
    noise_scale: a factor on what is drawn; other than 1 it is a bias by design.
  """

  eta: float = 1.0
  noise_scale: float = 1.0

  def levels(self, process: base.Process, times: np.ndarray) -> tables.Levels:
    """Returns a grid, times [N], as the rule sees it."""
    return tables.levels(process, times, eta=self.eta)

  def drawn(self, levels: tables.Levels) -> np.ndarray | None:
    """Returns C [N - 1]."""
    return self.noise_scale * levels.drawn if self.eta else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusersSDEDPMSolverPP(SDEDPMSolverPP):
  """The third order as diffusers ships it, which is of weak order 1.

  Its weight of the second difference is 1/2 M_2 - alpha_s, which does not
  vanish in short steps; the true one is M_2.
  """

  order: int = 3

  def moments(self, levels: tables.Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count]."""
    exact = super().moments(levels, count)
    if count == 3:
      exact[:, 2] = 0.5 * exact[:, 2] - levels.end
    return exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDEDPMSolver(multistep.MultistepDPMSolver):
  """SDE-DPM-Solver (1): the reverse SDE on eps.

  Attributes:
    eta: the scale of the noise; 0 is `MultistepDPMSolver`.
    noise_scale: a factor on what is drawn; other than 1 it is a bias by design.
  """

  eta: float = 1.0
  noise_scale: float = 1.0

  def moments(self, levels: tables.Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count]."""
    return (1 + self.eta) * super().moments(levels, count)

  def drawn(self, levels: tables.Levels) -> np.ndarray | None:
    """Returns C [N - 1]."""
    growth = np.expm1(2 * np.diff(levels.half))
    drawn = self.noise_scale * levels.end * np.sqrt(self.eta * growth)
    return drawn if self.eta else None
