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
    step: the solver's step, of all images or [B].
  """

  keys: Key
  step: Array = 0

  def at(self, step: Array) -> Keys:
    """Returns the noise of a step."""
    return self.replace(step=step)

  def normal(self, slot: Array, like: Array) -> Array:
    """Draws N(0, 1) in the shape of `like` [B, ...]."""

    def draw(key: Key, step: Array) -> Array:
      key = jax.random.fold_in(jax.random.fold_in(key, step), slot)
      return jax.random.normal(key, like.shape[1:], like.dtype)

    steps = jnp.broadcast_to(self.step, self.keys.shape)
    return jax.vmap(draw)(self.keys, steps)


@flax.struct.dataclass
class Recorded:
  """Given draws.

  Attributes:
    draws: [steps, slots, B, ...].
    step: the solver's step, of all images or [B].
  """

  draws: Array
  step: Array = 0

  def at(self, step: Array) -> Recorded:
    """Returns the noise of a step."""
    return self.replace(step=step)

  def normal(self, slot: Array, like: Array) -> Array:
    """Returns draw (step, slot)."""
    draws, place = jnp.asarray(self.draws), (self.step, slot)
    if jnp.ndim(self.step):  # each image is at a step of its own
      place = (*place, jnp.arange(like.shape[0]))
    return draws[place].astype(like.dtype)


@flax.struct.dataclass
class Later:
  """Noise whose slots begin at another one.

  Attributes:
    noise: the noise.
    first: its slot that stands for 0 here.
  """

  noise: Noise
  first: Array

  def at(self, step: Array) -> Later:
    """Returns the noise of a step."""
    return self.replace(noise=self.noise.at(step))

  def normal(self, slot: Array, like: Array) -> Array:
    """Draws from a slot, counted from the first."""
    return self.noise.normal(self.first + slot, like)


def fold_in(keys: Key, stream: Array) -> Key:
  """Returns the keys [B] of one stream of every image's key [B]."""
  return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, stream)


def image_keys(seed: int, indices: Array) -> Key:
  """Returns the keys [B] of images by their indices [B]."""
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return fold(jax.random.key(seed), jnp.asarray(indices, jnp.uint32))
