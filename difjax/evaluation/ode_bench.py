"""The adaptive ODE on device against SciPy's RK45 on the host.

SciPy drives the same compiled network, as score SDE's code does: the batch as
one vector, in steps of t, with a transfer each way at every evaluation. Two
questions are asked, each in one run.

Time: the solver on device over as many calls of the network as it makes, in
float32.

Work: the evaluations n(e) that a solver needs for an error e, the root mean
square over the batch against the ODE solved by SciPy's DOP853 to 1e-9. Both
solvers run over a range of tolerances in float64, so that no rounding limits
them, and are compared at equal error,

  ratio(e) = n_ours(e) / n_scipy(e),                                      (1)

n(e) being interpolated in logarithms. SciPy's one step for all images holds the
root mean square of the whole batch to the tolerance: easy images pay for hard
ones, and the result of each depends on the others. Ours holds each image to it.
Of our evaluations there are hence two numbers: those of the batch, as often as
the network is called until the slowest image is done, and those of an image, on
average; the first is what SciPy's number is.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from difjax.denoising import prediction
from difjax.evaluation import bench, curves, samples, trained
from difjax.sampling import ode
from difjax.typing import Array

_REFERENCE = 1e-9  # tolerance of what counts as exact
_TIMED = 1e-4  # tolerance at which time is measured, above float32's rounding
TOLERANCES = tuple(10 ** (-0.5 * half) for half in range(5, 12))


class Curve(NamedTuple):
  """Work and precision of one solver, a tolerance each.

  Attributes:
    errors: root mean squares.
    counts: evaluations.
  """

  errors: tuple[float, ...]
  counts: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Work:
  """What both solvers need for what they reach.

  Attributes:
    batch: ours, calls of the network on the batch.
    image: ours, evaluations of an image on average.
    scipy: calls of the network on the batch.
  """

  batch: Curve
  image: Curve
  scipy: Curve

  def figures(self) -> dict[str, Any]:
    """Returns the ratios (1), and the curves."""
    mean, most = at_equal_error(self.batch, self.scipy)
    image_mean, image_most = at_equal_error(self.image, self.scipy)
    return {
      'ratio': mean, 'ratio_max': most,
      'image_ratio': image_mean, 'image_ratio_max': image_most,
      'errors': self.batch.errors, 'evaluations': self.batch.counts,
      'image_evaluations': self.image.counts,
      'scipy_errors': self.scipy.errors,
      'scipy_evaluations': self.scipy.counts,
    }  # fmt: skip

  def picture(self) -> bytes:
    """Draws the curves as a PNG file."""
    solved = {
      'per image, calls of the batch': self.batch,
      'per image, mean of the images': self.image,
      'SciPy RK45, whole batch': self.scipy,
    }
    return curves.by_evaluations(
      {name: (curve.counts, curve.errors) for name, curve in solved.items()},
      y='error (root mean square)',
    )


def wall_clock(
  model: trained.Trained, rounds: int, size: int = 16
) -> dict[str, float]:
  """Times the ODE on device over as many network calls as it makes.

  Args:
    model: whose ODE is solved.
    rounds: of each kind, after one that does not count.
    size: images at once.

  Returns:
    Milliseconds of the solver, of the calls alone, and of SciPy at the same
    tolerance, with the evaluations of both; the ratio of the first two, and
    how many times SciPy's time is the solver's.
  """
  race = _Race(model, _start(model, size))
  count = int(race.ours(_TIMED)[1].max())
  _, host = race.scipy(_TIMED)
  race.calls(1)
  actions = (
    lambda: race.ours(_TIMED),
    lambda: race.calls(count),
    lambda: race.scipy(_TIMED),
  )
  times = [[1e3 * bench.seconds(a) for a in actions] for _ in range(rounds)]
  whole, calls, scipy = map(statistics.median, zip(*times, strict=True))
  return {
    'ratio': whole / calls, 'speed_up': scipy / whole,
    'ode_ms': whole, 'calls_ms': calls, 'scipy_ms': scipy,
    'evaluations': count, 'scipy_evaluations': host,
  }  # fmt: skip


def work(
  model: trained.Trained,
  size: int = 16,
  tolerances: tuple[float, ...] = TOLERANCES,
) -> Work:
  """Counts what both solvers need, over a range of tolerances in float64.

  Args:
    model: whose ODE is solved.
    size: images at once.
    tolerances: relative and absolute at once.
  """
  start = _start(model, size)
  with jax.enable_x64(True):
    network = model.objective.network.clone(dtype=jnp.float64)
    double = dataclasses.replace(
      model,
      objective=dataclasses.replace(model.objective, network=network),
      params=jax.tree.map(_double, model.params),
    )
    race = _Race(double, _double(start))
    exact, _ = race.scipy(_REFERENCE, 'DOP853')
    error = lambda x: float(np.sqrt(np.mean((x - exact) ** 2)))
    ours = [race.ours(tolerance) for tolerance in tolerances]
    theirs = [race.scipy(tolerance) for tolerance in tolerances]
  errors = tuple(error(x) for x, _ in ours)
  return Work(
    batch=Curve(errors, tuple(int(count.max()) for _, count in ours)),
    image=Curve(errors, tuple(float(count.mean()) for _, count in ours)),
    scipy=Curve(
      tuple(error(x) for x, _ in theirs), tuple(calls for _, calls in theirs)
    ),
  )


def at_equal_error(ours: Curve, theirs: Curve) -> tuple[float, float]:
  """Compares two curves by (1) over the errors that both reach.

  Returns:
    The geometric mean of the ratio over the logarithm of the error, and its
    maximum; NaN if no error is reached by both.
  """
  curves = [_front(curve) for curve in (ours, theirs)]
  low = max(errors[0] for errors, _ in curves)
  high = min(errors[-1] for errors, _ in curves)
  if low > high:
    return float('nan'), float('nan')
  grid = np.linspace(low, high, 201)
  first, second = (np.interp(grid, *curve) for curve in curves)
  ratio = first - second  # in logarithms
  return float(np.exp(ratio.mean())), float(np.exp(ratio.max()))


def _front(curve: Curve) -> tuple[Array, Array]:
  """Returns log errors, rising, and the log of the least work for each.

  An error by luck below that of a stricter tolerance counts: who reaches it
  with less work has reached all larger ones too.
  """
  order = np.argsort(curve.errors)
  least = np.minimum.accumulate(np.asarray(curve.counts, float)[order])
  return np.log(np.asarray(curve.errors)[order]), np.log(least)


class _Race:
  """One ODE, solved on device and on the host, compiled once each."""

  def __init__(self, model: trained.Trained, x: Array) -> None:
    process = model.objective.process
    labels = samples.default_labels(np.arange(len(x)), model.num_classes)
    cond = samples.condition(labels)
    denoiser = lambda params: model.objective.denoiser(params, cond)
    ends = process.t_max, process.t_min
    self._ends, self._params, self._x = ends, model.params, x
    self._velocity = jax.jit(
      lambda params, x, t: (
        prediction.velocity(denoiser(params)(x, t), process, t)
      )
    )
    self._solve = jax.jit(
      lambda params, x, tolerance: ode.solve(
        denoiser(params), process, x, *ends, rtol=tolerance, atol=tolerance
      )
    )

  def ours(self, tolerance: float) -> tuple[Array, Array]:
    """Returns images and evaluations [B] of the solver on device."""
    found = self._solve(self._params, self._x, tolerance)
    return tuple(np.asarray(part) for part in found)

  def scipy(self, tolerance: float, method: str = 'RK45') -> tuple[Array, int]:
    """Returns images and evaluations of a solver on the host."""
    from scipy import integrate

    like = self._x

    def field(t: float, y: Array) -> Array:
      x = jnp.asarray(y.reshape(like.shape), like.dtype)
      slope = self._velocity(self._params, x, jnp.full(len(x), t, x.dtype))
      return np.asarray(slope, np.float64).ravel()

    found = integrate.solve_ivp(
      field, self._ends, np.asarray(like, np.float64).ravel(), method=method,
      rtol=tolerance, atol=tolerance,
    )  # fmt: skip
    return found.y[:, -1].reshape(like.shape), int(found.nfev)

  def calls(self, count: int) -> None:
    """Calls the network, one evaluation after the other."""
    t = jnp.full(len(self._x), self._ends[0], self._x.dtype)
    for _ in range(count):
      jax.block_until_ready(self._velocity(self._params, self._x, t))


def _start(model: trained.Trained, size: int) -> Array:
  shape = (size, *model.shape)
  return model.objective.process.prior(jax.random.key(0), shape)


def _double(leaf: Array) -> Array:
  return jnp.asarray(leaf, jnp.float64)
