"""difjax beside eager PyTorch: the same network, timed in turn in one run.

The peer is a network of diffusers, in float32 and on devices of the kind that
ours is on; on GPUs both sides multiply in TF32, as jax does by default. Three
things are timed on either side: a call of the network, a whole draw by DDIM,
and a whole training step: noise, gradients, Adam. PyTorch and diffusers are for
this alone and no dependency of difjax:

  pip install torch diffusers

A ratio is that of one round, theirs over ours: above 1, difjax is faster. The
median and the range of the rounds are told, for machines are noisy.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import statistics
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from difjax import compilation, errors, pytree
from difjax.evaluation import bench, profile, samples
from difjax.objectives import denoising
from difjax.sampling import ancestral, grids, samplers
from difjax.training import optimisers, state, step
from difjax.typing import Batch, Shape

_Actions = dict[str, Callable[[], object]]
_Trained = tuple[jax.stages.Compiled, state.TrainState, Batch]
_PLACES: Final = types.MappingProxyType({'cpu': 'cpu', 'gpu': 'cuda'})


class Peer(Protocol):
  """What difjax is timed beside.

  Attributes:
    batch_size: images of every action.
  """

  batch_size: int

  def label(self) -> str:
    """Names it, with versions."""

  def actions(self) -> tuple[int, Mapping[str, Callable[[], object]]]:
    """Returns the number of parameters, and what is to be timed, by name.

    Raises:
      ConfigError: it cannot run here; the line says what to install.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusersPeer:
  """A network of diffusers, and what both sides are timed on.

  Attributes:
    network: the class, such as 'UNet2DModel'.
    fields: its arguments.
    shape: of an image (H, W, C).
    num_classes: 0 where the network knows no labels.
    batch_size: of every call and of a training step.
    draws: steps of DDIM in a draw.
    rate: Adam's.
  """

  network: str
  fields: Mapping[str, Any]
  shape: Shape
  num_classes: int = 0
  batch_size: int = 8
  draws: int = 10
  rate: float = 1e-4

  def labels(self) -> np.ndarray | None:
    """Returns int [B], or None where there are no classes."""
    if not self.num_classes:
      return None
    return np.arange(self.batch_size) % self.num_classes

  def label(self) -> str:
    """Names PyTorch and diffusers, with their versions."""
    torch, diffusers = map(importlib.metadata.version, ('torch', 'diffusers'))
    return f'PyTorch {torch}, diffusers {diffusers}'

  def actions(self) -> tuple[int, _Actions]:
    """Returns the number of parameters, and what is to be timed.

    Raises:
      ConfigError: PyTorch or diffusers is not installed, or PyTorch does not
        run on the devices that jax runs on.
    """
    try:
      import diffusers
      import torch
    except ImportError as error:
      raise errors.ConfigError(
        f'a peer needs {error.name}: pip install torch diffusers'
      ) from error
    where, done = place(torch)
    network = getattr(diffusers, self.network)(**self.fields).to(where)
    adam = torch.optim.Adam(network.parameters(), self.rate)
    height, width, channels = self.shape
    size = (self.batch_size, channels, height, width)
    x = torch.rand(size, device=where) * 2 - 1
    labels = self.labels()
    given = {}
    if labels is not None:
      given['class_labels'] = torch.as_tensor(labels, device=where)
    levels = diffusers.DDIMScheduler()

    def call(x: Any, t: Any) -> Any:
      return network(x, timestep=t, **given).sample[:, :channels]

    def forward() -> None:
      with torch.no_grad():
        call(x, torch.arange(self.batch_size, device=where))
      done()

    def draw() -> None:
      levels.set_timesteps(self.draws)
      now = torch.randn_like(x)
      with torch.no_grad():
        for t in levels.timesteps:
          noise = call(now, t.expand(self.batch_size).to(where))
          now = levels.step(noise, t, now).prev_sample
      done()

    def train() -> None:
      noise = torch.randn_like(x)
      t = torch.randint(
        0, len(levels.alphas_cumprod), (self.batch_size,), device=where
      )
      network.train()
      loss = ((call(levels.add_noise(x, noise, t), t) - noise) ** 2).mean()
      loss.backward()
      adam.step()
      adam.zero_grad()
      network.eval()
      done()

    network.eval()
    count = sum(each.numel() for each in network.parameters())
    return count, {'forward': forward, 'draw': draw, 'train': train}


def compare(
  objective: denoising.Denoising,
  optimiser: optimisers.Optimiser,
  peer: DiffusersPeer,
  rounds: int,
) -> dict[str, dict[str, Any]]:
  """Times both sides in turn.

  Args:
    objective: ours, of the same network.
    optimiser: ours.
    peer: theirs.
    rounds: of each action, after one that does not count.

  Returns:
    By action: the median seconds of both, the median of the rounds' ratios and
    their range; the parameters of both; and where the time of our training step
    goes, by `profile.shares`.
  """
  count, theirs = peer.actions()
  own_count, ours, compiled = actions(objective, optimiser, peer)
  found: dict[str, dict[str, Any]] = {
    'parameters': {'ours': own_count, 'theirs': count}
  }
  for name, action in ours.items():
    pairs = bench.in_turn(rounds, action, theirs[name])
    own, other = zip(*pairs, strict=True)
    ratios = [t / o for o, t in zip(own, other, strict=True)]
    found[name] = {
      'ours_s': statistics.median(own),
      'theirs_s': statistics.median(other),
      'ratio': statistics.median(ratios),
      'range': [min(ratios), max(ratios)],
    }
  found['train']['shares'] = profile.shares(compiled, ours['train'])
  return found


def _training_step(
  objective: denoising.Denoising,
  optimiser: optimisers.Optimiser,
  peer: DiffusersPeer,
) -> _Trained:
  """Returns our compiled training step, its first state and its batch."""
  rng = np.random.default_rng(0)
  size = (peer.batch_size, *peer.shape)
  batch = {'image': rng.integers(0, 256, size, np.uint8)}
  labels = peer.labels()
  if labels is not None:
    batch['label'] = labels.astype(np.int32)
  rule = optimiser.transformation()
  example = {**batch, 'image': np.zeros(size, np.float32)}
  first = jax.jit(
    lambda: step.init_state(objective, rule, {}, example, seed=0)
  )()
  one = jax.jit(
    step.make_step(objective, rule, {}, seed=0), donate_argnums=0,
    compiler_options=compilation.options(),
  )  # fmt: skip
  return one.lower(first, batch).compile(), first, batch


def actions(
  objective: denoising.Denoising,
  optimiser: optimisers.Optimiser,
  peer: DiffusersPeer,
) -> tuple[int, _Actions, jax.stages.Compiled]:
  """Returns our side.

  Args:
    objective: of the peer's network.
    optimiser: ours.
    peer: which says the sizes.

  Returns:
    The number of parameters, what is to be timed, as `DiffusersPeer.actions`
    names it, and the compiled training step.
  """
  one, now, batch = _training_step(objective, optimiser, peer)
  held = [now]
  params = jax.tree.map(jnp.copy, now.params)
  labels = peer.labels()
  cond = samples.condition(labels)
  x = jnp.zeros((peer.batch_size, *peer.shape))
  t = jnp.asarray(objective.process.t_max)
  call = jax.jit(
    lambda params, x: objective.denoiser(params, cond)(x, t),
    compiler_options=compilation.options(),
  )
  ddim = samplers.FixedGrid(
    solver=ancestral.DDIM(), grid=grids.Uniform(steps=peer.draws)
  )
  draw = lambda: samples.compiled()(
    params, jnp.uint32(0), np.arange(peer.batch_size), labels,
    objective=objective, sampler=ddim, shape=tuple(peer.shape),
  )  # fmt: skip

  def train() -> None:
    held[0], _ = jax.block_until_ready(one(held[0], batch))

  return pytree.count(params), {
    'forward': lambda: jax.block_until_ready(call(params, x)),
    'draw': lambda: jax.block_until_ready(draw()),
    'train': train,
  }, one


def place(torch: Any) -> tuple[str, Callable[[], object]]:
  """Returns PyTorch's name of jax's kind of device, and what waits for it.

  Args:
    torch: the module.

  Raises:
    ConfigError: PyTorch does not run there.
  """
  backend = jax.default_backend()
  found = _PLACES.get(backend)
  if found is None or not getattr(torch, found).is_available():
    raise errors.ConfigError(
      f'PyTorch {torch.__version__} does not run on the {backend} that jax '
      'runs on: install one that does, or set JAX_PLATFORMS=cpu'
    )
  torch.backends.cuda.matmul.allow_tf32 = True  # as jax does by default
  return found, getattr(torch, found).synchronize
