"""Noise as a value: where a stochastic solver's draws come from.

Image i's noise depends on (seed, i) alone. `image_keys` gives every image a
key of its own; `Keys` folds the step and a slot into it, so that neither the
batch's size nor its order nor the number of devices changes an image. For
parity with other code, `Recorded` hands out given draws instead.
"""

from __future__ import annotations

from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp

from difjax.typing import Array, Key


class Noise(Protocol):
  """A source of standard normal draws."""

  def at(self, step: Array) -> Noise:
    """Returns the noise of a step of the solver."""

  def normal(self, slot: Array, like: Array) -> Array:
    """Draws N(0, 1) in the shape of `like` [B, ...]; one slot, one draw."""


@flax.struct.dataclass
class Keys:
  """Independent draws for every image.

  Attributes:
    keys: [B] typed keys, one an image.
    step: the solver's step.
  """

  keys: Key
  step: Array = 0

  def at(self, step: Array) -> Keys:
    """Returns the noise of a step."""
    return self.replace(step=step)

  def normal(self, slot: Array, like: Array) -> Array:
    """Draws N(0, 1) in the shape of `like` [B, ...]."""

    def draw(key: Key) -> Array:
      key = jax.random.fold_in(jax.random.fold_in(key, self.step), slot)
      return jax.random.normal(key, like.shape[1:], like.dtype)

    return jax.vmap(draw)(self.keys)


@flax.struct.dataclass
class Recorded:
  """Given draws.

  Attributes:
    draws: [steps, slots, B, ...].
    step: the solver's step.
  """

  draws: Array
  step: Array = 0

  def at(self, step: Array) -> Recorded:
    """Returns the noise of a step."""
    return self.replace(step=step)

  def normal(self, slot: Array, like: Array) -> Array:
    """Returns draw (step, slot)."""
    return jnp.asarray(self.draws)[self.step, slot].astype(like.dtype)


def fold_in(keys: Key, stream: Array) -> Key:
  """Returns the keys [B] of one stream of every image's key [B]."""
  return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, stream)


def image_keys(seed: int, indices: Array) -> Key:
  """Returns the keys [B] of images by their indices [B]."""
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return fold(jax.random.key(seed), jnp.asarray(indices, jnp.uint32))
