"""Benchmarks of what runs on devices: loop, sampler, networks, attention.

Each is a description to be put into a config; `configs/benchmarks.py` has those
that the README's table is made of.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax import errors
from difjax.data import device
from difjax.evaluation import bench, peers, timings
from difjax.metrics import features, inception, resize
from difjax.networks import attention
from difjax.objectives import denoising
from difjax.sampling import samplers
from difjax.training import facts, mesh, optimisers
from difjax.training import trainer as trainers
from difjax.typing import Array

ANYWHERE = ('cpu', 'gpu', 'tpu')
_SCALE = 0.03  # of random weights, so that nothing overflows


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSpeed(timings.Benchmark):
  """The training loop beside its bare compiled step.

  Attributes:
    title: of the model.
    trainer: the run; see `bench.loop_overhead`.
    steps: in a round.
  """

  title: str
  trainer: trainers.Trainer
  steps: int = 200

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns milliseconds a step."""
    pairs = bench.loop_rounds(self.trainer, self.steps, rounds)
    whole, bare = (1e3 * np.array(pairs)).T.tolist()
    return [timings.Figure(
      name=f'{self.title}: a step of the training loop, a checkpoint every '
      f'{self.steps}',
      unit='ms', ours=whole, beside='the compiled step alone', theirs=bare,
    )]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSpeed(timings.Benchmark):
  """A sampler beside the calls of the network that it makes.

  Attributes:
    title: of the model.
    trainer: of the objective; its parameters are fresh.
    sampler: how to sample.
  """

  title: str
  trainer: trainers.Trainer
  sampler: samplers.Sampler

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns images a second."""
    calls, pairs = bench.sampling_rounds(self.trainer, self.sampler, rounds)
    whole, alone = (bench.BLOCK / np.array(pairs)).T.tolist()
    return [timings.Figure(
      name=f'{self.title}: sampling, {calls} evaluations',
      unit='images/s', rate=True, ours=whole,
      beside=f'{calls} calls of the network alone', theirs=alone,
    )]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerSpeed(timings.Benchmark):
  """A network beside the same one in eager PyTorch.

  Attributes:
    title: of the network.
    objective: ours.
    optimiser: ours.
    peer: theirs; where it cannot run, ours is measured alone.
  """

  title: str
  objective: denoising.Denoising
  optimiser: optimisers.Optimiser
  peer: peers.DiffusersPeer

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns milliseconds of a call, of a draw and of a training step."""
    _, ours, _ = peers.actions(self.objective, self.optimiser, self.peer)
    names = {
      'forward': 'a call', 'draw': f'{self.peer.draws} steps of DDIM',
      'train': 'a training step',
    }  # fmt: skip
    rival = _rival(self.peer)
    found = []
    for name, action in ours.items():
      mine, theirs = _timed(rounds, action, rival.actions.get(name))
      found.append(timings.Figure(
        name=f'{self.title}, batch {self.peer.batch_size}: {names[name]}',
        unit='ms', ours=1e3 * mine, beside=rival.label, theirs=1e3 * theirs,
        note=rival.missing,
      ))  # fmt: skip
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSpeed(timings.Benchmark):
  """A training step beside the same one computed in another way, and its MFU.

  Attributes:
    title: of the model and of how it computes.
    trainer: the run, whose data need be no real ones.
    rival: the same run otherwise.
    beside: how that computes.
    steps: in a round.
    backends: of jax on which this is of interest.
  """

  title: str
  trainer: trainers.Trainer
  rival: trainers.Trainer
  beside: str
  steps: int = 10
  backends: tuple[str, ...] = ANYWHERE

  def unsuited(self) -> str | None:
    """Says which devices it is for, where they are not here."""
    return _unsuited(self.backends)

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns images a second, and the MFU where the chip's peak is known."""
    about, action = _training(self.trainer, self.steps)
    _, other = _training(self.rival, self.steps)
    ours, theirs = _timed(rounds, action, other) / self.steps
    name = f'{self.title}, batch {about.batch_size}: a training step'
    images = lambda seconds: about.batch_size / seconds
    found = [timings.Figure(
      name=name, unit='images/s', rate=True, ours=images(ours),
      beside=self.beside, theirs=images(theirs),
      note='' if about.peak else f'no MFU: the peak of {about.devices} is '
      'not known',
    )]  # fmt: skip
    if about.peak:
      found.append(timings.Figure(
        name=f'{name}, MFU', unit='%', rate=True,
        ours=[100 * about.mfu(second) for second in ours],
      ))  # fmt: skip
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSpeed(timings.Benchmark):
  """Attention by one implementation beside others, forward and backward.

  Attributes:
    title: of the model that has such tokens.
    shape: [B, N, H, d] of queries, keys and values, in bfloat16.
    implementation: of `networks.attention.attend`.
    rivals: other ones.
    calls: queued in a round, for one takes less time than to wait for it.
    backends: of jax on which this is of interest.
  """

  title: str
  shape: tuple[int, int, int, int]
  implementation: attention.Implementation
  rivals: tuple[attention.Implementation, ...] = (None, 'xla')
  calls: int = 50
  backends: tuple[str, ...] = ('gpu',)

  def unsuited(self) -> str | None:
    """Says which devices it is for, where they are not here."""
    return _unsuited(self.backends)

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns milliseconds a call."""
    ours, scale = self._action(self.implementation), 1e3 / self.calls
    found = []
    for rival in self.rivals:
      mine, theirs = _timed(rounds, ours, self._action(rival))
      found.append(timings.Figure(
        name=f'{self.title}: attention in bfloat16, forward and backward, by '
        f'{_named(self.implementation)}',
        unit='ms', ours=scale * mine, beside=_named(rival),
        theirs=scale * theirs,
      ))  # fmt: skip
    return found

  def _action(
    self, implementation: attention.Implementation
  ) -> Callable[[], object]:
    qkv = jax.random.normal(jax.random.key(0), (3, *self.shape), jnp.bfloat16)

    @jax.jit
    @jax.grad
    def gradient(qkv: Array) -> Array:
      o = attention.attend(*qkv, implementation)
      return jnp.sum(jnp.square(o.astype(jnp.float32)))

    def run() -> None:
      for _ in range(self.calls):
        found = gradient(qkv)
      jax.block_until_ready(found)

    return run


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSpeed(timings.Benchmark):
  """From images to the features of FID, with random weights.

  Attributes:
    network: makes the network, whose output has `pool_3`.
    size: (H, W) that it reads.
    batch_size: images at once.
    side: of the images.
    peer: whose action `features` does the same.
  """

  network: Callable[[], nn.Module] = inception.Inception
  size: tuple[int, int] = (inception.SIDE, inception.SIDE)
  batch_size: int = 32
  side: int = 32
  peer: peers.Peer | None = None

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns images a second, resizing and both ways to devices included."""
    rival = _rival(self.peer)
    size = self.peer.batch_size if rival.actions else self.batch_size
    mine, theirs = _timed(
      rounds, self._action(), rival.actions.get('features')
    )
    return [timings.Figure(
      name=f'evaluation: features of Inception-v3, batch {self.batch_size}',
      unit='images/s', rate=True, ours=self.batch_size / mine,
      beside=rival.label, theirs=size / theirs, note=rival.missing,
    )]  # fmt: skip

  def _action(self) -> Callable[[], object]:
    rng, network = np.random.default_rng(0), self.network()
    shape = (self.batch_size, self.side, self.side, 3)
    images = rng.integers(0, 256, shape, np.uint8)
    made = jax.eval_shape(
      network.init, jax.random.key(0), np.zeros((1, *self.size, 3), np.float32)
    )
    drawn = lambda leaf: rng.normal(0, _SCALE, leaf.shape).astype(leaf.dtype)
    extractor = features.Extractor(
      network=network, params=jax.tree.map(drawn, made['params']),
      convention=resize.PYTORCH_FID, size=self.size, sha256='',
      published=False, family='random',
    )  # fmt: skip
    call = extractor.function(operator.attrgetter('pool_3'))
    params = jax.device_put(extractor.params)
    return lambda: np.asarray(call(params, images))


@dataclasses.dataclass(frozen=True)
class _Rival:
  """What a peer can do here.

  Attributes:
    label: its name; None where there is none.
    actions: by name; none where it cannot run.
    missing: why it cannot.
  """

  label: str | None = None
  actions: Mapping[str, Callable[[], object]] = dataclasses.field(
    default_factory=dict
  )
  missing: str = ''


def _rival(peer: peers.Peer | None) -> _Rival:
  if peer is None:
    return _Rival()
  try:
    return _Rival(actions=peer.actions()[1], label=peer.label())
  except errors.ConfigError as error:
    return _Rival(missing=str(error))


def _timed(
  rounds: int,
  ours: Callable[[], object],
  theirs: Callable[[], object] | None,
) -> np.ndarray:
  """Returns seconds [2, rounds]; of nobody, NaN."""
  sides = [ours] if theirs is None else [ours, theirs]
  found = np.full((2, rounds), np.nan)
  found[: len(sides)] = np.transpose(bench.in_turn(rounds, *sides))
  return found


def _training(
  trainer: trainers.Trainer, steps: int
) -> tuple[facts.Facts, Callable[[], object]]:
  """Returns the facts of a run, and what makes steps of it on one batch."""
  place, data = trainers.build_mesh(trainer), trainer.data
  with jax.set_mesh(place):
    step, abstract = trainers.compiled(trainer, place)
    about = facts.of(trainer, place, abstract)
    probe = data.rows(0, np.arange(1))
    held = [jax.jit(
      lambda: trainers.initial(trainer, probe),
      out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract),
    )()]  # fmt: skip
    batch = device.place(
      lambda rows: data.rows(0, rows), data.batch_size,
      mesh.batch_sharding(place),
    )  # fmt: skip

  def run() -> None:
    with jax.set_mesh(place):
      held[0] = bench.run_steps(step, held[0], batch, steps, place)

  return about, run


def _named(implementation: attention.Implementation) -> str:
  return f'jax.nn ({implementation})' if implementation else "difjax's default"


def _unsuited(backends: tuple[str, ...]) -> str | None:
  backend = jax.default_backend()
  if backend in backends:
    return None
  return f'needs {" or ".join(backends)}, and this is a {backend}'
