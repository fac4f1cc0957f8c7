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
  *,
  learned_range: bool = False,
) -> prediction.Denoiser:
  """Wraps a network as a denoiser.

  Args:
    network: (c_in x [B, ...], c_noise [B]) -> y [B, ...]; parameters and
      condition are closed over.
    process: the process that x comes from.
    target: what the network was trained to output.
    inputs: what it was trained to see.
    learned_range: the network puts out (y, v) side by side in the last axis;
      v in [-1, 1] says where the variance lies between its bounds.

  Returns:
    (x [B, ...], t scalar or [B]) -> Prediction.
  """

  def denoise(x: Array, t: Array) -> prediction.Prediction:
    t = jnp.broadcast_to(base.as_time(t), x.shape[:1])
    c_in, c_noise = inputs(process, t)
    y, spread = network(base.expand(c_in, x) * x, c_noise), None
    if learned_range:
      y, spread = split_range(y)
    return targets.invert(target, process, y, x, t)._replace(spread=spread)

  return denoise


def split_range(y: Array) -> tuple[Array, Array]:
  """Splits an output with a learned variance.

  Args:
    y: [B, ..., 2 C], the target's part and v in [-1, 1].

  Returns:
    The target's part and the spread (v + 1) / 2 of Nichol & Dhariwal 2021
    (equation 15), each [B, ..., C].
  """
  y, v = jnp.split(y, 2, axis=-1)
  return y, (v + 1) / 2
