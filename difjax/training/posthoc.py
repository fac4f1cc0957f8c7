r"""Averages of any width after training, from averages that were kept.

A power-function average (`ema`, equation 2) of exponent g at step t weighs the
parameters of step s by

  p(s) = (g + 1) s^g / t^(g + 1),   0 < s <= t.                           (1)

Two such weights a and b have the inner product

  <a, b> = (g_a + 1) (g_b + 1) / (g_a + g_b + 1)
           min(t_a, t_b)^(g_a + g_b + 1) / (t_a^(g_a + 1) t_b^(g_b + 1)), (2)

so that of the averages i that were kept the sum with the coefficients x_i

  sum_j <i, j> x_j = <i, wanted>                                          (3)

is the nearest to the wanted one in the least-squares sense; x is then divided
by its sum. With two widths kept, 0.05 and 0.10, now and then along a run, any
width between is met to a fraction of a percent. Source: Karras et al. 2024
(2312.02696), section 3.2 and appendix C.3.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from etils import epath

from difjax import errors
from difjax.training import checkpoint, ema, hooks
from difjax.training import state as states
from difjax.typing import Params

_FOLDER = 'snapshots'
_ALL = checkpoint.Checkpoints(every=1, keep_every=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshots:
  """A hook that keeps averages for good: their parameters, nothing else.

  Attributes:
    every: steps between two snapshots.
    averages: their names; none for all of them.
  """

  every: int
  averages: tuple[str, ...] = ()

  def __call__(
    self, run: hooks.Run, step: int, state: states.TrainState
  ) -> None:
    """Writes the averages after `step` steps, once.

    Raises:
      CheckpointError: they could not be written.
      ConfigError: an average that is named is not kept.
    """
    lost = set(self.averages) - state.ema.keys()
    if lost:
      raise errors.ConfigError(
        f'config.hooks: snapshots of {sorted(lost)}, but the averages are '
        f'{sorted(state.ema)}'
      )
    names = self.averages or tuple(state.ema)
    saver = checkpoint.Checkpointer(
      run.workdir, _kept_in(run.directory), _FOLDER
    )
    try:
      if step not in saver.steps():  # as in a run that was stopped since
        saver.save_items(
          {name: state.ema[name] for name in names}, {'step': step}
        )
    finally:
      saver.close()


def _kept_in(directory: str | None) -> checkpoint.Checkpoints:
  """All of them, in the directory of a run's checkpoints."""
  return dataclasses.replace(_ALL, directory=directory)


def coefficients(
  steps: np.ndarray, exponents: np.ndarray, step: float, exponent: float
) -> np.ndarray:
  """Returns x [n] of (3), in float64.

  Args:
    steps: t_i [n] of the averages that were kept.
    exponents: g_i [n] of them.
    step: t of the wanted average.
    exponent: g of it.
  """
  t, g = (np.asarray(values, np.float64) for values in (steps, exponents))
  between = _inner(t[:, None], g[:, None], t[None], g[None])
  # Snapshots late in a run are nearly the same: those combinations of them that
  # rounding cannot tell from zero stay out.
  found, *_ = np.linalg.lstsq(between, _inner(t, g, step, exponent), rcond=None)
  return found / found.sum()


def _inner(
  t: np.ndarray, g: np.ndarray, u: np.ndarray | float, h: np.ndarray | float
) -> np.ndarray:
  """Equation (2), by logarithms: powers of steps overflow."""
  least = (g + h + 1) * np.log(np.minimum(t, u))
  scale = (g + 1) * np.log(t) + (h + 1) * np.log(u)
  return (g + 1) * (h + 1) / (g + h + 1) * np.exp(least - scale)


def reconstruct(
  workdir: pathlib.Path,
  rules: Mapping[str, ema.EMA],
  like: Params,
  width: float,
  step: int | None = None,
  directory: str | None = None,
) -> tuple[Params, int]:
  """Makes an average of a run's snapshots.

  Args:
    workdir: of the run.
    rules: the averages that the run kept, by name; those without an exponent
      have no part in it.
    like: its parameters, or their shapes with shardings.
    width: relative width of the wanted average.
    step: at which it is wanted; None for that of the last snapshot. Later
      snapshots have no part in it.
    directory: of the run's checkpoints, where that is not the work directory.

  Returns:
    (the average, float32 on the host; its step).

  Raises:
    ConfigError: there are no snapshots to make it of, or no such width.
    CheckpointError: a snapshot cannot be read.
  """
  names = {name: rule.exponent for name, rule in rules.items()
           if hasattr(rule, 'exponent')}  # fmt: skip
  if not names or not (epath.Path(directory or workdir) / _FOLDER).is_dir():
    raise errors.ConfigError(
      f'{workdir} has no snapshots of power-function averages: train with '
      'config.hooks of training.Snapshots and config.ema of '
      'training.PowerFunctionEMA'
    )
  try:
    exponent = ema.exponent(width)
  except ValueError as error:
    raise errors.ConfigError(str(error)) from error
  saver = checkpoint.Checkpointer(
    workdir, _kept_in(directory), _FOLDER, reading=True
  )
  try:
    step, kept = _until(saver, step, workdir)
    x = coefficients(
      np.repeat(kept, len(names)), np.tile([*names.values()], len(kept)),
      step, exponent,
    )  # fmt: skip
    weights = dict(zip(kept, x.reshape(len(kept), -1), strict=True))
    return _sum(saver, tuple(names), weights, like), step
  finally:
    saver.close()


def _until(
  saver: checkpoint.Checkpointer, step: int | None, workdir: pathlib.Path
) -> tuple[int, list[int]]:
  """Returns the wanted step and the snapshots up to it.

  Raises:
    ConfigError: there are none.
  """
  found = saver.steps()
  step = max(found, default=0) if step is None else step
  kept = [at for at in found if at <= step]
  if not kept or step > max(found):
    raise errors.ConfigError(
      f'{workdir} has snapshots of the steps {found}, from which none of step '
      f'{step} can be made'
    )
  return step, kept


def _sum(
  saver: checkpoint.Checkpointer,
  names: tuple[str, ...],
  weights: Mapping[int, np.ndarray],
  like: Params,
) -> Params:
  """Adds snapshots up one after the other, in float64.

  Args:
    saver: of the snapshots.
    names: of the averages in each.
    weights: by step, a number for each name.
    like: the parameters, or their shapes.
  """
  total = jax.tree.map(lambda leaf: np.zeros(leaf.shape), like)
  for step, numbers in weights.items():
    parts = saver.restore_items(step, dict.fromkeys(names, like))
    for name, number in zip(names, numbers, strict=True):
      total = jax.tree.map(
        lambda sum_, leaf, x=number: sum_ + x * np.asarray(leaf, np.float64),
        total, parts[name],
      )  # fmt: skip
  return jax.tree.map(lambda leaf: leaf.astype(np.float32), total)
