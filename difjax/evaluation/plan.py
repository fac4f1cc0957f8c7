"""What a training step will need, told by its compiler before it runs.

The step that the loop runs is compiled for given devices: those of this
machine, or of a slice of TPUs that nobody has to hold, since libtpu compiles
ahead of time. The program then tells memory and collectives. Operations are
counted in the trace, three times the forward pass (once forward, twice back)
and twice its multiply-accumulates; what is computed again to save memory does
not count. An evaluation for a sampler is the forward pass alone.

With W operations, S bytes of state a device and C bytes received from others,
of n devices that do F operations a second, move M bytes to and from memory and
L over their links, a training step takes at least

  T = max(W / (n F), 2 S / M, C / L),      MFU <= W / (n F T).            (1)

An evaluation reads what it keeps once, S / M.
"""

from __future__ import annotations

import dataclasses
import hashlib
import resource
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from difjax import environment, errors, pytree
from difjax.evaluation import collectives, compiler
from difjax.networks import costs
from difjax.training import facts, sharding, topology
from difjax.training import mesh as meshes
from difjax.training import trainer as trainers
from difjax.typing import Array, Batch, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A step, compiled.

  Attributes:
    slice: of TPUs, as the compiler calls it, or this machine's devices.
    step: 'training', or 'sampling' for one evaluation of the denoiser.
    chips: devices of the mesh, by what jax calls them.
    mesh: sizes of its axes.
    batch: rows of a batch, over all devices.
    parameters: numbers that are trained.
    state_bytes: a device, parameters, moments and averages.
    replicated_bytes: of these, what every device holds whole.
    memory: bytes a device, by what they are for.
    memory_needed: their sum, less what is given back in place.
    memory_there: bytes of a device; None where nobody says.
    flops: operations of a step, over all devices.
    collectives: of the compiled step, a device.
    least_bytes: what data parallelism and FSDP cannot do without.
    seconds: lower bounds on a step by their cause, as in (1); none where the
      device is not known.
    compile_seconds: that the compiler took.
    compile_work: seconds of a core that it took, whatever else ran beside it.
    host_bytes: the most memory that this process has held.
    program: SHA-256 of what was given to the compiler.
    versions: of jax and libtpu.
  """

  slice: str
  step: str
  chips: int
  mesh: dict[str, int]
  batch: int
  parameters: int
  state_bytes: int
  replicated_bytes: int
  memory: dict[str, int]
  memory_needed: int
  memory_there: int | None
  flops: int
  collectives: tuple[collectives.Total, ...]
  least_bytes: int
  seconds: dict[str, float]
  compile_seconds: float
  compile_work: float
  host_bytes: int
  program: str
  versions: dict[str, str | None]

  @property
  def sent_bytes(self) -> int:
    """Bytes of all collectives, an all-reduce twice."""
    return sum(total.cost for total in self.collectives)

  @property
  def step_seconds(self) -> float | None:
    """The roofline's bound on a step; None where it is not known."""
    return max(self.seconds.values(), default=None)

  @property
  def mfu(self) -> float | None:
    """The share of the peak that this bound allows."""
    bound = self.step_seconds
    return self.seconds['compute'] / bound if bound else None

  def record(self) -> dict[str, Any]:
    """Returns all of it as plain data."""
    return dataclasses.asdict(self) | {
      'sent_bytes': self.sent_bytes,
      'step_seconds': self.step_seconds,
      'mfu': self.mfu,
    }


def make(
  trainer: trainers.Trainer,
  place: topology.Slice | None = None,
  *,
  sampling: bool = False,
  memory: int | None = None,
) -> Plan:
  """Compiles a run's training step and reads what it needs.

  Args:
    trainer: the run.
    place: the slice of TPUs; None for the devices of this process.
    sampling: whether an evaluation of the denoiser is planned in place of a
      training step, of a batch as large.
    memory: bytes of a device; None for what is known of it.

  Raises:
    ConfigError: the compiler for TPUs is missing, devices and mesh do not fit,
      or the step does not fit in memory: what to change is in the message.
  """
  devices = compiler.devices(place) if place else jax.devices()
  chip = place.chip if place else topology.of_kind(devices[0].device_kind)
  mesh = trainers.build_mesh(trainer, devices)
  with jax.set_mesh(mesh):
    work = (_sampling if sampling else _training)(trainer, mesh)
    traced = work.jitted.trace(*work.arguments)
    lowered = traced.lower(lowering_platforms=(devices[0].platform,))
    began, worked = time.perf_counter(), time.process_time()
    try:
      compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
      held, _ = sharding.resident(work.state)
      raise compiler.refusal(error, trainer, mesh, held) from error
  usage = resource.getrusage(resource.RUSAGE_SELF)
  described = dict(
    slice=place.name if place else environment.devices(),
    step=work.name,
    compile_seconds=time.perf_counter() - began,
    compile_work=time.process_time() - worked,
    host_bytes=1024 * usage.ru_maxrss,
    program=hashlib.sha256(lowered.as_text().encode()).hexdigest(),
  )
  there = memory or _there(devices[0], chip)
  found = _read(trainer, work, compiled, mesh, chip, there, described)
  if there and found.memory_needed > there:
    raise errors.ConfigError(
      compiler.advice(
        trainer, mesh, found.state_bytes, found.memory_needed, there
      )
    )
  return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
  """What is compiled.

  Attributes:
    name: 'training' or 'sampling'.
    jitted: the function.
    arguments: of it, as shapes.
    state: those of them that devices keep.
    params: of the network.
    flops: operations of a call, over all devices.
    gathers: how often split parameters have to be gathered.
    reduces: how often their gradients have to be summed.
  """

  name: str
  jitted: Any
  arguments: tuple[Any, ...]
  state: PyTree
  params: PyTree
  flops: int
  gathers: int
  reduces: int


def _training(trainer: trainers.Trainer, mesh: jax.sharding.Mesh) -> _Work:
  jitted, state = trainers.compiled(trainer, mesh)
  batch = trainers.abstract_batch(trainer, mesh)
  return _Work(
    name='training', jitted=jitted, arguments=(state, batch), state=state,
    params=state.params, flops=facts.flops(trainer, state, batch), gathers=2,
    reduces=1,
  )  # fmt: skip


def _sampling(trainer: trainers.Trainer, mesh: jax.sharding.Mesh) -> _Work:
  _, state = trainers.compiled(trainer, mesh)
  batch = trainers.abstract_batch(trainer, mesh)
  image = batch.pop('image')
  place = meshes.batch_sharding(mesh)
  x = jax.ShapeDtypeStruct(image.shape, jnp.float32, sharding=place)
  t = jax.ShapeDtypeStruct(image.shape[:1], jnp.float32, sharding=place)

  def evaluate(params: PyTree, x: Array, t: Array, cond: Batch) -> Array:
    return trainer.objective.denoiser(params, cond)(x, t).x0

  arguments = (state.params, x, t, batch)
  return _Work(
    name='sampling', jitted=jax.jit(evaluate), arguments=arguments,
    state=state.params, params=state.params, gathers=1, reduces=0,
    flops=2 * costs.multiply_accumulates(evaluate, *arguments),
  )  # fmt: skip


def _read(
  trainer: trainers.Trainer,
  work: _Work,
  compiled: jax.stages.Compiled,
  mesh: jax.sharding.Mesh,
  chip: topology.Chip | None,
  there: int | None,
  described: dict[str, Any],
) -> Plan:
  """Reads a compiled program."""
  totals = collectives.count(compiled.as_text())
  held, whole = sharding.resident(work.state)
  memory, needed = _memory(compiled)
  plan = Plan(
    chips=mesh.size,
    mesh=dict(mesh.shape),
    batch=trainer.data.batch_size,
    parameters=pytree.count(work.params),
    state_bytes=held,
    replicated_bytes=whole,
    memory=memory,
    memory_needed=needed,
    memory_there=there,
    flops=work.flops,
    collectives=totals,
    least_bytes=_least(work, mesh, totals),
    seconds={},
    versions=compiler.versions(),
    **described,
  )
  return dataclasses.replace(
    plan, seconds=_seconds(plan, chip, 1 + work.reduces)
  )


def _memory(compiled: jax.stages.Compiled) -> tuple[dict[str, int], int]:
  """Bytes of a device by what they are for, and their sum."""
  found = compiled.memory_analysis()
  parts = {
    'arguments': found.argument_size_in_bytes,
    'outputs': found.output_size_in_bytes - found.alias_size_in_bytes,
    'temporaries': found.temp_size_in_bytes,
    'code': found.generated_code_size_in_bytes,
  }
  return parts, sum(parts.values())


def _there(device: jax.Device, chip: topology.Chip | None) -> int | None:
  """Bytes of a device's memory."""
  if chip is not None:
    return int(chip.memory)
  stats = device.memory_stats() or {}
  return stats.get('bytes_limit')


def _least(
  work: _Work, mesh: jax.sharding.Mesh, totals: Sequence[collectives.Total]
) -> int:
  """Bytes that a step cannot do without, a device, in the dtypes that it sends.

  What is split is gathered twice and its gradient reduced and scattered once,
  then summed over the copies; the gradient of what is whole is summed.
  """
  if meshes.batch_shards(mesh) == 1:
    return 0
  gathered = work.gathers * collectives.width(totals, 'all-gather')
  reduced = work.reduces * collectives.width(
    totals, 'reduce-scatter', 'all-reduce'
  )
  least = 0
  for leaf in jax.tree.leaves(work.params):
    shard = int(np.prod(leaf.sharding.shard_shape(leaf.shape)))
    if 'fsdp' not in jax.tree.leaves(tuple(leaf.sharding.spec)):
      least += 2 * shard * reduced
      continue
    whole = shard * mesh.shape['fsdp']  # but for what tensor splits
    least += whole * (gathered + reduced)
    if mesh.shape['data'] > 1:
      least += 2 * shard * reduced
  return least


def _seconds(
  plan: Plan, chip: topology.Chip | None, moves: int
) -> dict[str, float]:
  """The three bounds of (1), the state being moved so often."""
  if chip is None:
    return {}
  return {
    'compute': plan.flops / (plan.chips * chip.flops),
    'memory': moves * plan.state_bytes / chip.bandwidth,
    'links': plan.sent_bytes / chip.links,
  }
