r"""What a run is, in numbers that are known before its first step.

The work of a step is counted, not measured: with M the multiply-accumulates of
the loss of a batch (`networks.costs`), read off its trace,

  FLOPs = 3 * 2 M,                                                        (1)

2 for a multiplication and an addition, 3 for the forward pass and the backward
one, which is two of it. What remat does again is not counted, and so

  MFU = FLOPs / (seconds a step * FLOP/s of the chips at their peak)      (2)

is the share of the machine that works for the result, whatever else a program
does with it (Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import sys
import time

import jax

from difjax import environment, pytree
from difjax.data import device
from difjax.networks import costs
from difjax.training import sharding, state, topology
from difjax.training import trainer as trainers
from difjax.typing import Array, Batch, Params, PyTree

_FILE = 'run.json'
_FLAGS = ('XLA_', 'LIBTPU_', 'JAX_')  # names of variables that change programs
_FORWARD_AND_BACKWARD = 3
_MULTIPLY_AND_ADD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """The numbers.

  Attributes:
    devices: how many, and of which kind.
    chips: how many they make.
    mesh: sizes of the axes.
    parameters: numbers that are trained.
    state_bytes: of parameters, moments and averages, once.
    device_bytes: of what a device holds of them.
    copied_bytes: of those, what all devices hold alike.
    batch_size: images a step, on all devices.
    batch_bytes: of a batch, as it comes onto the devices.
    flops: of a step (1).
    examples: in the data.
    read_bytes: of storage, for a batch.
    peak: FLOP/s of all devices, None where that is not known.
  """

  devices: str
  chips: int
  mesh: dict[str, int]
  parameters: int
  state_bytes: int
  device_bytes: int
  copied_bytes: int
  batch_size: int
  batch_bytes: int
  flops: int
  examples: int
  read_bytes: int
  peak: float | None

  def lines(self) -> list[str]:
    """Spells them for somebody who watches the start of a run."""
    axes = ' x '.join(f'{name} {n}' for name, n in self.mesh.items())
    each = self.batch_bytes // self.batch_size
    peak = f', {self.peak:.3g} FLOP/s at the most' if self.peak else ''
    return [
      f'devices     {self.devices}, mesh {axes}{peak}',
      f'parameters  {self.parameters:,}',
      f'state       {_size(self.state_bytes)}, '
      f'{_size(self.device_bytes)} on a device, of which '
      f'{_size(self.copied_bytes)} on all alike',
      f'batch       {self.batch_size:,} images of {_size(each)}',
      f'data        {self.examples:,} examples, {_size(self.read_bytes)} '
      'are read a step',
      f'step        {self.flops:.3g} FLOPs, counted',
    ]

  def mfu(self, seconds: float) -> float | None:
    """Returns (2) at so many seconds a step, None where there is no peak."""
    return self.flops / seconds / self.peak if self.peak else None


def of(
  trainer: trainers.Trainer,
  mesh: jax.sharding.Mesh,
  abstract: state.TrainState,
) -> Facts:
  """Finds the facts of a run; nothing is run for them.

  Args:
    trainer: the run.
    mesh: its devices.
    abstract: its state's shapes and shardings.
  """
  devices = mesh.devices.ravel().tolist()
  kind, source = devices[0].device_kind, trainer.data.source
  chip = topology.of_kind(kind)
  batch = trainers.abstract_batch(trainer, mesh)
  held, copied = sharding.resident(abstract)
  return Facts(
    devices=f'{len(devices)} x {kind}',
    chips=topology.chips(devices),
    mesh=dict(mesh.shape),
    parameters=pytree.count(abstract.params),
    state_bytes=_bytes(jax.tree.leaves(abstract)),
    device_bytes=held,
    copied_bytes=copied,
    batch_size=trainer.data.batch_size,
    batch_bytes=_bytes(batch.values()),
    flops=flops(trainer, abstract, batch),
    examples=len(source),
    read_bytes=round(trainer.data.batch_size * source.stored_bytes),
    peak=len(devices) * chip.flops if chip else None,
  )


def flops(
  trainer: trainers.Trainer, abstract: state.TrainState, batch: Batch
) -> int:
  """Counts the FLOPs of a step (1).

  Args:
    trainer: the run.
    abstract: its state's shapes.
    batch: shapes of a batch, as the pipeline makes it.
  """
  step = abstract.step.dtype.type(0)
  key = lambda: jax.random.key(0)  # traced: devices of a plan run nothing

  def prepared(batch: Batch) -> Batch:
    batch = {**batch, 'image': device.to_unit_range(batch['image'])}
    return batch if trainer.augment is None else trainer.augment(batch, key())

  def loss(params: Params, aux: PyTree, ema: PyTree, batch: Batch) -> Array:
    return trainer.objective.loss(
      params, aux, None, batch, key(), step=step, ema=ema
    )[0]

  count = costs.multiply_accumulates(
    loss, abstract.params, abstract.aux, abstract.ema,
    jax.eval_shape(prepared, batch),
  )  # fmt: skip
  return _FORWARD_AND_BACKWARD * _MULTIPLY_AND_ADD * count


def publish(facts: Facts, workdir: pathlib.Path, first: int) -> None:
  """Says the facts, and adds them to those of the run's earlier starts.

  Args:
    facts: of this start.
    workdir: `run.json` in it is a list of starts, the newest last.
    first: steps done at the start.
  """
  print('\n'.join(facts.lines()), file=sys.stderr, flush=True)
  start = {
    'began': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
    'step': first,
    **dataclasses.asdict(facts),
    'machine': environment.machine(),
    'processes': jax.process_count(),
    'commit': environment.commit(),
    'versions': environment.versions(),
    'flags': {
      name: value
      for name, value in sorted(os.environ.items())
      if name.startswith(_FLAGS)
    },
  }
  file = workdir / _FILE
  partial = file.with_suffix('.partial')
  starts = [*read_starts(workdir), start]
  partial.write_text(json.dumps(starts, indent=1) + '\n')
  partial.rename(file)


def read_starts(workdir: pathlib.Path) -> list[dict[str, object]]:
  """Reads the starts of a run, the oldest first; none where it is unread."""
  file = workdir / _FILE
  try:
    return json.loads(file.read_text()) if file.exists() else []
  except ValueError:
    return []


def _bytes(leaves: object) -> int:
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _size(count: int) -> str:
  """Spells bytes: 1,234 B, 12.3 MiB."""
  if count < 2**13:
    return f'{count:,} B'
  power = min((count.bit_length() - 1) // 10, 4)
  return f'{count / 2 ** (10 * power):.3g} {" KMGT"[power]}iB'
