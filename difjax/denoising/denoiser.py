"""From a network to a denoiser, the one thing that solvers see."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from difjax.denoising import conditioning, prediction, targets
from difjax.processes import base
from difjax.typing import Array


def of_network(
  network: Callable[[Array, Array], Array],
  process: base.Process,
  target: targets.Target,
  inputs: conditioning.InputMap,
) -> prediction.Denoiser:
  """Wraps a network as a denoiser.

  Args:
    network: (c_in x [B, ...], c_noise [B]) -> y [B, ...]; parameters and
      condition are closed over.
    process: the process that x comes from.
    target: what the network was trained to output.
    inputs: what it was trained to see.

  Returns:
    (x [B, ...], t scalar or [B]) -> Prediction.
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    t = jnp.broadcast_to(base.as_time(t), x.shape[:1])
    c_in, c_noise = inputs(process, t)
    y = network(base.expand(c_in, x) * x, c_noise)
    return targets.invert(target, process, y, x, t)

  return denoise
