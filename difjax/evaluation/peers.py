"""difjax beside eager PyTorch: the same network, timed in turn in one run.

The peer is a network of diffusers, in float32 and on the host's cores as ours
is. Three things are timed on either side: a call of the network, a whole draw
by DDIM, and a whole training step: noise, gradients, Adam. PyTorch and
diffusers are for this alone and no dependency of difjax:

  pip install torch diffusers

A ratio is that of one round, theirs over ours: above 1, difjax is faster. The
median and the range of the rounds are told, for machines are noisy.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from difjax import errors, pytree
from difjax.evaluation import bench, profile, samples
from difjax.objectives import denoising
from difjax.sampling import ancestral, grids, samplers
from difjax.training import optimisers, state, step
from difjax.typing import Batch, Shape

_Actions = dict[str, Callable[[], object]]
_Trained = tuple[jax.stages.Compiled, state.TrainState, Batch]


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

  def actions(self) -> tuple[int, _Actions]:
    """Returns the number of parameters, and what is to be timed.

    Raises:
      ConfigError: PyTorch or diffusers is not installed.
    """
    try:
      import diffusers
      import torch
    except ImportError as error:
      raise errors.ConfigError(
        f'a peer needs {error.name}: pip install torch diffusers'
      ) from error
    network = getattr(diffusers, self.network)(**self.fields)
    adam = torch.optim.Adam(network.parameters(), self.rate)
    height, width, channels = self.shape
    x = torch.rand(self.batch_size, channels, height, width) * 2 - 1
    labels = self.labels()
    given = {}
    if labels is not None:
      given['class_labels'] = torch.as_tensor(labels)
    levels = diffusers.DDIMScheduler()

    def call(x: Any, t: Any) -> Any:
      return network(x, timestep=t, **given).sample[:, :channels]

    def forward() -> None:
      with torch.no_grad():
        call(x, torch.arange(self.batch_size))

    def draw() -> None:
      levels.set_timesteps(self.draws)
      now = torch.randn_like(x)
      with torch.no_grad():
        for t in levels.timesteps:
          noise = call(now, t.expand(self.batch_size))
          now = levels.step(noise, t, now).prev_sample

    def train() -> None:
      noise = torch.randn_like(x)
      t = torch.randint(0, len(levels.alphas_cumprod), (self.batch_size,))
      network.train()
      loss = ((call(levels.add_noise(x, noise, t), t) - noise) ** 2).mean()
      loss.backward()
      adam.step()
      adam.zero_grad()
      network.eval()

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
  trained = _training_step(objective, optimiser, peer)
  own_count, ours = _actions(objective, trained, peer)
  found: dict[str, dict[str, Any]] = {
    'parameters': {'ours': own_count, 'theirs': count}
  }
  for name, action in ours.items():
    action()
    theirs[name]()
    own, other = zip(
      *(
        (bench.seconds(action), bench.seconds(theirs[name]))
        for _ in range(rounds)
      ),
      strict=True,
    )
    ratios = [t / o for o, t in zip(own, other, strict=True)]
    found[name] = {
      'ours_s': statistics.median(own),
      'theirs_s': statistics.median(other),
      'ratio': statistics.median(ratios),
      'range': [min(ratios), max(ratios)],
    }
  found['train']['shares'] = profile.shares(trained[0], ours['train'])
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
  one = jax.jit(step.make_step(objective, rule, {}, seed=0), donate_argnums=0)
  return one.lower(first, batch).compile(), first, batch


def _actions(
  objective: denoising.Denoising, trained: _Trained, peer: DiffusersPeer
) -> tuple[int, _Actions]:
  """Returns the number of our parameters, and what is to be timed."""
  one, now, batch = trained
  held = [now]
  params = jax.tree.map(jnp.copy, now.params)
  labels = peer.labels()
  cond = samples.condition(labels)
  x = jnp.zeros((peer.batch_size, *peer.shape))
  t = jnp.asarray(objective.process.t_max)
  call = jax.jit(lambda params, x: objective.denoiser(params, cond)(x, t))
  ddim = samplers.FixedGrid(
    solver=ancestral.DDIM(), grid=grids.Uniform(steps=peer.draws)
  )
  draw = lambda: samples.block(
    params, jnp.uint32(0), np.arange(peer.batch_size), labels,
    objective=objective, sampler=ddim, shape=tuple(peer.shape),
  )  # fmt: skip

  def train() -> None:
    held[0], _ = jax.block_until_ready(one(held[0], batch))

  return pytree.count(params), {
    'forward': lambda: jax.block_until_ready(call(params, x)),
    'draw': lambda: jax.block_until_ready(draw()),
    'train': train,
  }
