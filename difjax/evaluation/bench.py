"""Ratios of times: what the loop and the sampler add to the network.

Both sides of a ratio are timed in turn within one run, and medians are
compared, so that a busy machine hurts them alike.
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from difjax.data import device
from difjax.denoising import prediction
from difjax.evaluation import samples, trained
from difjax.sampling import ode, samplers
from difjax.training import checkpoint, hooks, loop, mesh, state
from difjax.typing import Array

_BLOCK = 64  # images sampled at once
_Figures = dict[str, float]
_TOLERANCES = (1e-3, 1e-4, 1e-5)
_REFERENCE = 1e-9  # tolerance of what counts as exact


def loop_overhead(trainer: loop.Trainer, steps: int, rounds: int) -> _Figures:
  """Times the training loop over the bare compiled step.

  Args:
    trainer: the run; its hooks are left out, and a checkpoint is written once
      a round.
    steps: in a round.
    rounds: of each kind, after one that does not count.

  Returns:
    Milliseconds a step of both, and their ratio.
  """
  watch = _Stopwatch(every=steps, trainer=trainer)
  timed = dataclasses.replace(
    trainer,
    steps=steps * (rounds + 1),
    hooks=(watch,),
    checkpoints=checkpoint.Checkpoints(every=steps),
  )
  with tempfile.TemporaryDirectory() as folder:
    loop.train(timed, pathlib.Path(folder))
  whole = statistics.median(watch.loop[1:]) / steps
  bare = statistics.median(watch.bare[1:]) / steps
  return {
    'loop_ms': 1e3 * whole, 'bare_ms': 1e3 * bare, 'ratio': whole / bare
  }  # fmt: skip


def sampling_overhead(
  trainer: loop.Trainer, sampler: samplers.Sampler, rounds: int
) -> _Figures:
  """Times a sampler over its evaluations times one call of the network.

  Args:
    trainer: of the objective, with fresh parameters.
    sampler: how to sample.
    rounds: of each kind, after one that does not count.

  Returns:
    Milliseconds of both, the evaluations, and the ratio.
  """
  objective, source = trainer.objective, trainer.data.source
  probe = trainer.data.rows(0, np.arange(1))
  params = jax.jit(lambda: loop.initial(trainer, probe).params)()
  indices = np.arange(_BLOCK)
  labels = samples.default_labels(indices, source.num_classes)
  cond = None if labels is None else {'label': jnp.asarray(labels)}
  call = jax.jit(lambda p, x, t: objective.denoiser(p, cond)(x, t))
  x = objective.process.prior(jax.random.key(0), (_BLOCK, *trainer.data.shape))
  t = jnp.asarray(objective.process.t_max)
  sampled = lambda: samples.block(
    params, jnp.uint32(0), indices, labels, objective=objective,
    sampler=sampler, shape=trainer.data.shape,
  )  # fmt: skip
  count = int(np.max(sampled()[1]))

  def evaluated() -> None:
    for _ in range(count):  # as a sampler does: one after the other
      jax.block_until_ready(call(params, x, t))

  evaluated()
  whole, single = [], []
  for _ in range(rounds):
    whole.append(_seconds(lambda: jax.block_until_ready(sampled())))
    single.append(_seconds(evaluated))
  ratio = statistics.median(whole) / statistics.median(single)
  return {
    'sampler_ms': 1e3 * statistics.median(whole),
    'calls_ms': 1e3 * statistics.median(single),
    'evaluations': count,
    'ratio': ratio,
  }


def adaptive_ode(
  model: trained.Trained, rounds: int, size: int = 16
) -> _Figures:
  """Compares the adaptive ODE on device with SciPy's RK45 on the host.

  SciPy drives the same compiled network as score SDE's code does: the whole
  batch as one vector, a transfer each way at every evaluation. Both are held
  against the ODE at a tolerance of 1e-9 in float64, by the root mean square.

  Args:
    model: whose ODE is solved.
    rounds: of each kind, after one that does not count.
    size: images at once.

  Returns:
    At the middle one of three tolerances, milliseconds of both and of as many
    network calls as there are evaluations, of which `ratio` is made; and for
    all three, evaluations, errors, and SciPy's evaluations at equal error, by
    interpolation.
  """
  race = _Race(model, size)
  found = {}
  exact = race.reference()
  error = lambda x: float(np.sqrt(np.mean((x - exact) ** 2)))
  ours, theirs = [], []
  for tolerance in _TOLERANCES:
    x, count = race.ours(tolerance)
    y, calls = race.scipy(tolerance)
    ours.append((error(x), int(count.max())))
    theirs.append((error(y), calls))
    found[f'evaluations_mean_{tolerance:g}'] = float(count.mean())
  errors, counts = np.log(np.asarray(theirs)).T
  line = np.polynomial.Polynomial.fit(errors, counts, 1)
  rows = zip(_TOLERANCES, ours, theirs, strict=True)
  for tolerance, (mine, count), (other, calls) in rows:
    found[f'evaluations_{tolerance:g}'] = count
    found[f'error_{tolerance:g}'] = mine
    found[f'scipy_evaluations_{tolerance:g}'] = calls
    found[f'scipy_error_{tolerance:g}'] = other
    equal = float(np.exp(line(np.log(mine))))
    found[f'scipy_evaluations_at_equal_error_{tolerance:g}'] = equal
  middle = len(_TOLERANCES) // 2
  tolerance, count = _TOLERANCES[middle], ours[middle][1]
  times = [[], [], []]
  for _ in range(rounds):
    times[0].append(_seconds(lambda: race.ours(tolerance)))
    times[1].append(_seconds(lambda: race.calls(count)))
    times[2].append(_seconds(lambda: race.scipy(tolerance)))
  whole, calls, host = (1e3 * statistics.median(each) for each in times)
  return {
    'ode_ms': whole, 'calls_ms': calls, 'scipy_ms': host,
    'ratio': whole / calls, 'speed_up': host / whole, **found,
  }  # fmt: skip


class _Race:
  """One ODE, several ways to solve it, compiled once each."""

  def __init__(self, model: trained.Trained, size: int) -> None:
    self._objective, self._params = model.objective, model.params
    process = model.objective.process
    self._ends = process.t_max, process.t_min
    self._x = process.prior(jax.random.key(0), (size, *model.shape))
    labels = samples.default_labels(np.arange(size), model.num_classes)
    self._cond = None if labels is None else {'label': jnp.asarray(labels)}
    self._velocity = jax.jit(self._field)
    self._solve = jax.jit(self._solved)
    self.calls(1)

  def ours(self, tolerance: float) -> tuple[Array, Array]:
    """Returns images and evaluations of the solver on device."""
    found = self._solve(self._params, self._x, tolerance)
    return tuple(np.asarray(part) for part in found)

  def scipy(self, tolerance: float) -> tuple[Array, int]:
    """Returns images and evaluations of the solver on the host."""
    from scipy import integrate

    def field(t: float, y: Array) -> Array:
      x = jnp.asarray(y.reshape(self._x.shape), self._x.dtype)
      slope = self._velocity(self._params, x, jnp.full(len(x), t, x.dtype))
      return np.asarray(slope, np.float64).ravel()

    start = np.asarray(self._x, np.float64).ravel()
    found = integrate.solve_ivp(
      field, self._ends, start, method='RK45', rtol=tolerance, atol=tolerance
    )
    return found.y[:, -1].reshape(self._x.shape), found.nfev

  def calls(self, count: int) -> None:
    """Calls the network, one evaluation after the other."""
    t = jnp.full(len(self._x), self._ends[0], self._x.dtype)
    for _ in range(count):
      jax.block_until_ready(self._velocity(self._params, self._x, t))

  def reference(self) -> Array:
    """Returns the images in float64."""
    with jax.enable_x64(True):
      double = lambda leaf: jnp.asarray(leaf, jnp.float64)
      network = self._objective.network.clone(dtype=jnp.float64)
      race = dataclasses.replace(self._objective, network=network)
      solve = jax.jit(lambda p, x: self._solved(p, x, _REFERENCE, race))
      params = jax.tree.map(double, self._params)
      return np.asarray(solve(params, double(self._x))[0])

  def _field(self, params, x, t, objective=None):
    objective = objective or self._objective
    pair = objective.denoiser(params, self._cond)(x, t)
    return prediction.velocity(pair, objective.process, t)

  def _solved(self, params, x, tolerance, objective=None):
    objective = objective or self._objective
    return ode.solve(
      objective.denoiser(params, self._cond), objective.process, x,
      *self._ends, rtol=tolerance, atol=tolerance,
    )  # fmt: skip


@dataclasses.dataclass(eq=False)
class _Stopwatch:
  """A hook that ends a round of the loop and times one of bare steps."""

  every: int
  trainer: loop.Trainer
  loop: list[float] = dataclasses.field(default_factory=list)
  bare: list[float] = dataclasses.field(default_factory=list)

  def __post_init__(self) -> None:
    self._since = time.perf_counter()

  def __call__(self, run: hooks.Run, done: int, now: state.TrainState) -> None:
    """Notes the loop's round, then runs and notes the bare one."""
    jax.block_until_ready(now)
    self.loop.append(time.perf_counter() - self._since)
    step, copy, batch = self._prepared(run, now)

    def steps() -> None:
      held = copy
      for _ in range(self.every):
        held, metrics = step(held, batch)
        if run.mesh.size > 1 and jax.default_backend() == 'cpu':
          jax.block_until_ready(metrics)  # as the loop must there
      jax.block_until_ready(held)

    self.bare.append(_seconds(steps))
    self._since = time.perf_counter()

  def _prepared(self, run: hooks.Run, now: state.TrainState):
    if not hasattr(self, '_step'):
      self._step, _ = loop.compiled(self.trainer, run.mesh)
    data, placed = self.trainer.data, mesh.batch_sharding(run.mesh)
    batch = device.place(
      lambda rows: data.rows(0, rows), data.batch_size, placed
    )
    copy = jax.block_until_ready(jax.tree.map(jnp.copy, now))
    return self._step, copy, batch


def _seconds(action: Callable[[], object]) -> float:
  began = time.perf_counter()
  action()
  return time.perf_counter() - began
