r"""Linear multistep solvers: one evaluation a step, and what was seen before.

One step serves them all. With m = x_0 or eps, and rows from `tables`,

  x  <- P x + A' x_before + sum_j B'_j m_j     where there is a corrector, (1)
  x_s = A x + sum_j B_j m_j + C noise,                                    (2)

m_0 being the denoiser's newest answer. A solver is how its rows are made: which
unknown is integrated, the coordinate u in which it is a polynomial, and what
becomes of the moments M_k (numbers in `tables`).

  solver               m    u              M_k
  DPMSolverPP          x_0  lambda         2 nodes: M_1 = M_0 / 2         (3)
  MultistepDPMSolver   eps  lambda         2 nodes: M_1 = M_0 / 2         (3)
  DEIS                 eps  t, or another  exact
  LMS                  eps  sigma / alpha  exact
  IPNDM                eps  step number    those of an even grid
  UniPC                any  lambda         2 nodes: M_1 = B / 2           (4)

(3) is what the papers print for second order: the kernel at its mean. UniPC's B
is either M_0, its bh2, which makes (3) of (4); or the kernel at s times h, bh1:

  B = o_s r h.                                                            (5)

For three nodes and more, B cancels, and all of them are exact. UniPC corrects
(1) with m at the predicted point as one more node, z = 1, and one more order.

The third order that the official DPM-Solver codes, k-diffusion and diffusers
ship has M_2 / 2 in place of M_2, and so is of second order; `shipped` gives it.

Any of them may end at sigma = 0, where the process has such a time: in log-SNR
that step takes one value, and so is the denoiser's x_0; in sigma / alpha it is
a step like any other, as in the official LMS and iPNDM. PNDM, which starts with
Runge and Kutta's steps, is not here: iPNDM took its place.

Sources: Lu et al. 2022, DPM-Solver++, algorithm 2; Zhao et al. 2023, UniPC,
algorithms 1 and 2; Zhang & Chen 2023, DEIS, section 3, and section 4 for iPNDM;
Liu et al. 2022, PNDM, for its weights; Crowson's k-diffusion for LMS.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from difjax import errors
from difjax.denoising import prediction
from difjax.processes import base
from difjax.sampling import noise as noises
from difjax.sampling import tables
from difjax.typing import Array


@flax.struct.dataclass
class History:
  """What earlier steps left.

  Attributes:
    row: the number of the next step.
    before: [B, ...], x before the last step.
    outputs: m [B, ...] of earlier steps, newest first.
  """

  row: Array
  before: Array
  outputs: tuple[Array, ...]


@flax.struct.dataclass
class Tabled:
  """The solver of one grid: (1) and (2) down a table.

  Attributes:
    table: a row a step.
    data: m is x_0 rather than eps.
  """

  table: tables.Table
  data: bool = flax.struct.field(pytree_node=False, default=True)

  @property
  def evaluations(self) -> int:
    """One."""
    return 1

  @property
  def remembers(self) -> bool:
    """Yes."""
    return True

  def init(self, x: Array) -> History:
    """Returns a history in which nothing has happened, x [B, ...]."""
    zero = jnp.zeros_like(x)
    outputs = (zero,) * self.table.outputs.shape[-1]
    return History(jnp.zeros((), jnp.int32), zero, outputs)

  def step(
    self,
    denoiser: prediction.Denoiser,
    process: base.Process,
    state: History,
    x: Array,
    t: Array,
    s: Array,
    noise: noises.Noise,
  ) -> tuple[Array, History]:
    """Takes x from t to s (1), (2)."""
    row = jax.tree.map(
      lambda column: jnp.asarray(column, x.dtype)[state.row], self.table
    )
    pair = denoiser(x, t)
    newest = pair.x0 if self.data else pair.eps
    outputs = (newest, *state.outputs[:-1])
    if row.correction is not None:
      mend = row.correction
      x = mend.kept * x + mend.state * state.before
      x = x + _combined(mend.outputs, outputs)
    x_s = row.state * x + _combined(row.outputs, outputs)
    if row.drawn is not None:
      x_s = x_s + row.drawn * noise.normal(0, x)
    return x_s, History(state.row + 1, x, outputs)


def _combined(weights: Array, outputs: tuple[Array, ...]) -> Array:
  return sum(weight * m for weight, m in zip(weights, outputs, strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Multistep:
  """A solver by its rule: subclasses give m, u and the moments.

  Attributes:
    order: values of m in a step, once there are so many.
    final_order: the most of them in a grid's last step, and one more in each
      step before; None: as many as ever. Few, long steps want it. The official
      `lower_order_final` is 2 where the sampler ends with the denoiser's x_0,
      as that is one more step, of order 1; otherwise it is 1.
  """

  order: int
  final_order: int | None = None
  data: ClassVar[bool] = False  # m is eps
  coordinate: ClassVar[tables.Coordinate] = tables.LogSNRCoordinate()

  def __post_init__(self) -> None:
    if self.order < 1:
      raise ValueError(f'order must be at least 1, not {self.order}')
    if self.final_order is not None and self.final_order < 1:
      raise ValueError(f'final_order must be at least 1: {self.final_order}')

  @property
  def evaluations(self) -> int:
    """One."""
    return 1

  @property
  def remembers(self) -> bool:
    """Yes."""
    return True

  def nodes(self, levels: tables.Levels) -> np.ndarray:
    """Returns u [N]."""
    return self.coordinate.nodes(levels)

  def moments(self, levels: tables.Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count]."""
    return self.coordinate.moments(levels, count)

  def levels(self, process: base.Process, times: np.ndarray) -> tables.Levels:
    """Returns a grid, times [N], as the rule sees it."""
    return tables.levels(process, times, data=self.data)

  def drawn(self, levels: tables.Levels) -> np.ndarray | None:
    """Returns C [N - 1]; nothing is drawn."""
    del levels

  def plan(self, process: base.Process, times: np.ndarray) -> Tabled:
    """Returns the solver of one grid, times [N].

    Raises:
      ConfigError: when the times do not decrease.
    """
    if not np.all(np.diff(times) < 0):
      raise errors.ConfigError(
        f'{type(self).__name__} needs a grid whose times decrease'
      )
    levels = self.levels(process, times)
    orders = tables.orders(self.nodes(levels), self.order, self.final_order)
    table = tables.Table(
      state=levels.state,
      outputs=tables.coefficients(self, levels, orders, self._width),
      drawn=self.drawn(levels),
      correction=self._correction(levels, orders),
    )
    return Tabled(table, data=self.data)

  @property
  def _width(self) -> int:
    """Values of m that a row has a place for."""
    return self.order

  def _correction(
    self, levels: tables.Levels, orders: np.ndarray
  ) -> tables.Correction | None:
    """Returns the corrector's rows; there is none."""
    del levels, orders


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultistepDPMSolver(_Multistep):
  """DPM-Solver as a multistep rule on eps, of order 1 to 3.

  Attributes:
    midpoint: (3) where two values are taken, as in the paper; or the exact M_1.
    shipped: half M_2 where three are, as in the official codes: of order 2.
  """

  order: int = 2
  midpoint: bool = True
  shipped: bool = False

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.order > 3:
      raise ValueError(f'order must be at most 3, not {self.order}')

  def moments(self, levels: tables.Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count]."""
    if count == 2 and self.midpoint:
      return tables.constant(levels, count)
    exact = super().moments(levels, count)
    if count == 3 and self.shipped:
      return exact * [1, 1, 0.5]
    return exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolverPP(MultistepDPMSolver):
  """DPM-Solver++, multistep, on x_0: 2M and, with order 3, 3M."""

  data: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class DEIS(_Multistep):
  """DEIS: the order's values of eps as a polynomial, integrated exactly.

  The paper's tAB-q has order q + 1 here.

  Attributes:
    coordinate: what eps is a polynomial in: `TimeCoordinate` (tAB),
      `RatioCoordinate` (rho-AB), or `LogSNRCoordinate`, as in diffusers.
  """

  order: int = 4
  coordinate: tables.Coordinate = tables.TimeCoordinate()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LMS(_Multistep):
  """Adams and Bashforth's rule on eps in sigma / alpha: k-diffusion's LMS."""

  order: int = 4
  coordinate: ClassVar[tables.Coordinate] = tables.RatioCoordinate()


@dataclasses.dataclass(frozen=True, kw_only=True)
class IPNDM(_Multistep):
  """Adams and Bashforth's rule with the weights of an even grid on any grid.

  Of order 2 unless sigma / alpha is even, whatever the order above it.
  """

  order: int = 4
  coordinate: ClassVar[tables.Coordinate] = tables.StepCoordinate()


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniPC(_Multistep):
  """UniPC: a multistep predictor, and a corrector that costs nothing.

  Of order p + 1 for order p, and p without the corrector (UniP).

  Attributes:
    data: m is x_0 rather than eps.
    bh1: B is (5) rather than M_0, which is bh2.
    corrector: mend every x with the denoiser's answer there.
    uncorrected: numbers of steps whose result is not mended.
  """

  order: int = 2
  data: bool = True
  bh1: bool = False
  corrector: bool = True
  uncorrected: tuple[int, ...] = ()

  def moments(self, levels: tables.Levels, count: int) -> np.ndarray:
    """Returns M_k [N - 1, count] (4)."""
    if count != 2:
      return super().moments(levels, count)
    if not self.bh1:
      return tables.constant(levels, count)
    b = levels.end * levels.rate * np.diff(levels.half)  # (5)
    return np.stack([levels.total, 0.5 * b], axis=1)

  @property
  def _width(self) -> int:
    return self.order + self.corrector

  def _correction(
    self, levels: tables.Levels, orders: np.ndarray
  ) -> tables.Correction | None:
    if not self.corrector:
      return None
    mended = ~np.isin(np.arange(len(orders)), self.uncorrected)
    after = tables.coefficients(
      self, levels, np.where(mended, orders, 0), self._width, ahead=True
    )
    # The result of a step is mended in the next one; the last's is not.
    later = lambda column: np.concatenate([0 * column[:1], column[:-1]])
    state = later(np.where(mended, levels.state, 0))
    return tables.Correction(1.0 - later(mended), state, later(after))
