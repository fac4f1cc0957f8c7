"""A model whose parameters are as large as wanted, and cost as little."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from difjax import denoising, objectives, processes, sampling
from difjax.evaluation import controlled, samples, trained

HEUN = sampling.FixedGrid(
  solver=sampling.Heun(), grid=sampling.Karras(steps=3)
)


class Tables(nn.Module):
  """Rows of two large tables by class, the second in bfloat16.

  Attributes:
    rows: of each.
    width: numbers of a row.
  """

  rows: int = 10
  width: int = 8

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Returns x times what the row says."""
    label = jnp.zeros(x.shape[0], int) if not cond else cond['label']
    shape, normal = (self.rows, self.width), nn.initializers.normal(1e-2)
    wide = self.param('wide', normal, shape)
    half = self.param('half', normal, shape, jnp.bfloat16)
    gain = wide[label].mean(-1) + half[label].astype(jnp.float32).mean(-1)
    return x * (1 + gain[:, None, None, None]) * jnp.cos(noise)[
      :, None, None, None]


def led(rows=10, width=8, params=None):
  """A model of that network."""
  network = Tables(rows=rows, width=width)
  objective = objectives.Denoising(
    process=processes.EDM(), target=denoising.Preconditioned(data_std=0.5),
    network=network, label_dropout=0.1,
    inputs=denoising.InputMap(noise=denoising.LogSigma()),
  )  # fmt: skip
  batch = {'image': np.zeros((1, 4, 4, 3), np.float32),
           'label': np.zeros(1, np.int32)}
  params = params or objective.init(jax.random.key(0), batch)
  return controlled.Led(trained.Trained(
    objective=objective, params=params, shape=(4, 4, 3), num_classes=rows,
    class_names=(), step=1, config={},
  ))  # fmt: skip


def expected(given, way, indices, seed=0):
  """The images of a block of `difjax sample`."""
  model = given.model
  x, _ = samples.compiled()(
    model.params, jnp.uint32(seed), jnp.asarray(indices, jnp.int32),
    jnp.asarray(indices % model.num_classes, jnp.int32), jnp.float32(0),
    objective=model.objective, sampler=way, shape=model.shape,
  )  # fmt: skip
  return np.asarray(x)
