"""Runs that take seconds: a small model, and an objective solved by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import resource

import jax
import jax.numpy as jnp
from flax import linen as nn

from configs import parts
from difjax import config, data, denoising, objectives, processes, training
from difjax.cli import train
from difjax.objectives import base
from tests import analytic, tiny_config

ROOT = pathlib.Path(__file__).parents[1]
FSDP = training.Mesh(data=1, fsdp=8)
DIT_RULES = config.build(parts.dit_rules(min_size=1))
SPLIT_ALL = (training.Rule(pattern='.*', tactic=training.FSDP(min_size=1)),)


@contextlib.contextmanager
def quick_compilation():
  """Compiles three times as fast, to programs that run slower."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  try:
    yield
  finally:
    jax.config.update('jax_disable_most_optimizations', before)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneDevice(training.Mesh):
  """The mesh of a machine with one device."""

  def build(self, devices=None):
    """Takes the first device."""
    return super().build((devices or jax.devices())[:1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean(base.Objective):
  """Finds the mean image: the gradient is 2 (w - mean of the batch) / size.

  Attributes:
    bad: steps (counted from 0) whose loss and gradient are NaN.
  """

  bad: tuple[int, ...] = ()

  def init(self, key, batch):
    """Starts at zero."""
    return {'w': jnp.zeros(batch['image'].shape[1:])}

  def init_aux(self):
    """Counts batches."""
    return {'batches': jnp.zeros((), jnp.int32)}

  def loss(self, params, aux, frozen, batch, key, *, step, ema):
    """Returns the mean square."""
    bad = jnp.isin(step, jnp.asarray((-1, *self.bad)))
    loss = jnp.mean((params['w'] - batch['image']) ** 2)
    aux = {'batches': aux['batches'] + 1}
    return loss * jnp.where(bad, jnp.nan, 1.0), ({'at': 1.0 * step}, aux)


class ExactNoise(nn.Module):
  """The noise that is expected in `analytic.Gaussian` data, from x and t.

  Attributes:
    process: how the data became noise.
  """

  process: processes.Process

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Takes t as it is and knows no classes; its one parameter is 1."""
    scale = self.param('scale', nn.initializers.ones, ())
    return scale * analytic.Gaussian().denoiser(self.process)(x, noise).eps


class Affine(nn.Module):
  """An image plus weights times x, all zeros at first; it knows no time."""

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Returns w x + b."""
    w, b = (
      self.param(name, nn.initializers.zeros, x.shape[1:]) for name in 'wb'
    )
    return w * x + b


def exact_noise(process):
  """Returns the objective of `ExactNoise`, and its parameters."""
  objective = objectives.Denoising(
    process=process, target=denoising.Noise(), network=ExactNoise(process),
    inputs=denoising.InputMap(noise=denoising.Linear(factor=1.0)),
  )  # fmt: skip
  return objective, {'scale': jnp.ones(())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FillDisk:
  """A hook that leaves no room beside the work directory."""

  every: int = 1

  def __call__(self, run, step, state):
    """Fills."""
    fill(run.workdir.parent)


def fill(folder):
  """Leaves no room in a folder's own file system, or for files of 300 bytes."""
  if os.path.ismount(folder):
    with contextlib.suppress(OSError), (folder / 'filler').open('wb') as file:
      while True:
        file.write(bytes(4096))
        file.flush()
  else:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))


def trainer(**changes):
  """Returns the Trainer of `tiny_config`, changed."""
  built = train.build(tiny_config.get_config().to_dict())
  return dataclasses.replace(built, **changes)


def mean_trainer(bad=(), **changes):
  """Returns a Trainer of `Mean` on 21 digits."""
  few = data.Subset(source=data.Digits(), stop=21)
  kept = dict(
    objective=Mean(bad=tuple(bad)),
    data=data.Pipeline(source=few, batch_size=8, threads=1),
    rules=SPLIT_ALL,
  )
  return trainer(**{**kept, **changes})
