"""Images from a trained model, each a function of (seed, index) alone.

Work is cut into blocks of a fixed size, and every block is run by one device at
that one compiled shape. An image's noise comes from a key of its own, so the
same index gives the same image whatever else is asked for beside it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from difjax import errors
from difjax.data import device
from difjax.evaluation import plots, trained
from difjax.objectives import base
from difjax.sampling import langevin, samplers
from difjax.sampling import noise as noises
from difjax.training import distributed, hooks, state
from difjax.training import mesh as meshes
from difjax.typing import Array, Cond, Params, Shape

_PRIOR, _SOLVER = 0, 1  # streams of an image's key


@functools.partial(jax.jit, static_argnames=('objective', 'sampler', 'shape'))
def block(
  params: Params,
  seed: Array,
  indices: Array,
  labels: Array | None,
  mean: Array = 0.0,
  *,
  objective: base.Generative,
  sampler: samplers.Sampler,
  shape: Shape,
) -> tuple[Array, Array]:
  """Samples the images of some indices.

  Args:
    params: of the objective's network.
    seed: of the whole set.
    indices: int [B].
    labels: int [B], or None for a model without labels.
    mean: of x at t_max, to broadcast over [B, H, W, C].
    objective: what was trained.
    sampler: how to sample.
    shape: (H, W, C) of an image.

  Returns:
    Images [B, H, W, C] near [-1, 1] and the evaluations [B] of networks that
    they took; where guidance is limited to an interval, at the most.
  """
  keys = noises.image_keys(seed, indices)
  draw = lambda key: objective.process.prior(key, shape)
  x = mean + jax.vmap(draw)(noises.fold_in(keys, _PRIOR))
  denoiser = objective.denoiser(params, condition(labels))
  noise = noises.Keys(noises.fold_in(keys, _SOLVER))
  images, calls = sampler(denoiser, objective.process, x, noise)
  return images, calls * objective.evaluations


def default_labels(indices: Array, num_classes: int) -> Array | None:
  """Returns label i mod K for index i: balanced, whatever the count."""
  return np.asarray(indices) % num_classes if num_classes else None


def condition(labels: Array | None) -> Cond:
  """Returns what a denoiser is told of images with these classes, if any."""
  return None if labels is None else {'label': jnp.asarray(labels)}


def blocks(
  objective: base.Generative,
  sampler: samplers.Sampler,
  params: Params,
  *,
  shape: Shape,
  indices: Array,
  labels: Array | None,
  mean: Array = 0.0,
  seed: int = 0,
  size: int = 64,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Samples a set block by block over the local devices.

  Takes the arguments of `generate`. While one block is read, every device works
  on a next one.

  Yields:
    x [B, ...] as it was drawn, and evaluations int [B]; in the order of the
    indices, the last of them shorter.
  """
  places = [(d, jax.device_put(params, d)) for d in jax.local_devices()]
  pending = collections.deque()

  def finished() -> tuple[np.ndarray, np.ndarray]:
    count, *found = pending.popleft()
    return tuple(np.asarray(each)[:count] for each in found)

  for i, start in enumerate(range(0, len(indices), size)):
    part = np.arange(start, min(start + size, len(indices)))
    full = np.resize(part, size)  # the last block repeats its images
    on, copy = places[i % len(places)]
    put = functools.partial(jax.device_put, device=on)
    x, evaluations = block(
      copy, put(jnp.uint32(seed)), put(np.asarray(indices)[full]),
      None if labels is None else put(np.asarray(labels)[full]),
      put(jnp.asarray(mean, jnp.float32)),
      objective=objective, sampler=sampler, shape=tuple(shape),
    )  # fmt: skip
    pending.append((len(part), x, evaluations))
    if len(pending) > len(places):
      yield finished()
  while pending:
    yield finished()


def generate(
  objective: base.Generative,
  sampler: samplers.Sampler,
  params: Params,
  *,
  shape: Shape,
  indices: Array,
  labels: Array | None,
  mean: Array = 0.0,
  seed: int = 0,
  size: int = 64,
  advance: Callable[[int], object] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
  """Samples a set of images.

  Args:
    objective: what was trained.
    sampler: how to sample.
    params: of the objective's network.
    shape: (H, W, C) of an image.
    indices: int [N], which images of the seed's endless set.
    labels: int [N], or None for a model without labels.
    mean: of x at t_max, to broadcast over [B, H, W, C].
    seed: of the set.
    size: images in a block.
    advance: called with the number of images that were just finished.

  Returns:
    Images uint8 [N, H, W, C] and evaluations int [N].

  Raises:
    NonFiniteError: an image has values that are not finite.
  """
  images, evaluations, done = [], [], 0
  for x, count in blocks(
    objective, sampler, params, shape=shape, indices=indices, labels=labels,
    mean=mean, seed=seed, size=size,
  ):  # fmt: skip
    which = np.asarray(indices)[done : done + len(x)]
    images.append(_checked(x, which, seed))
    evaluations.append(count)
    advance(len(x))
    done += len(x)
  return np.concatenate(images), np.concatenate(evaluations)


def check_independent(sampler: samplers.Sampler) -> None:
  """Refuses a sampler that lets the images of a block depend on each other.

  Raises:
    ConfigError: it does; what it draws would follow the size of a block.
  """
  if langevin.couples(sampler):
    raise errors.ConfigError(
      'the sampler couples the images of a block: set coupled=false on its '
      'corrector, or ask for it with --coupled'
    )


def _checked(x: np.ndarray, indices: np.ndarray, seed: int) -> np.ndarray:
  """Returns bytes, of finite images only."""
  bad = ~np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
  if bad.any():
    raise errors.NonFiniteError(
      f'image {indices[bad][0]} of seed {seed} is not finite: use more steps '
      'or another solver'
    )
  return device.to_bytes(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleGrid:
  """A hook that draws the same images again and again as training goes on.

  Attributes:
    sampler: how to sample.
    every: steps between two grids.
    ema: which average to sample from; '' for the raw parameters.
    rows: rows and columns of the grid.
    seed: of the images.
  """

  sampler: samplers.Sampler
  every: int = 5_000
  ema: str = 'main'
  rows: int = 8
  seed: int = 0

  def __call__(
    self, run: hooks.Run, step: int, now: state.TrainState
  ) -> None:
    """Writes samples/STEP.png and hands the grid to the writers.

    Raises:
      ConfigError: nothing can be sampled from what is trained.
    """
    trained.require(run.objective, 'denoiser', 'config.objective')
    params = now.ema[self.ema] if self.ema else now.params
    params = distributed.whole(params)
    if distributed.is_first():
      self._draw(run, step, params)
    # The others wait here, where they may, and not in the step that follows.
    distributed.barrier('samples are drawn')

  def _draw(self, run: hooks.Run, step: int, params: Params) -> None:
    indices = np.arange(self.rows**2)
    source = run.pipeline.source
    with jax.set_mesh(meshes.nowhere()):
      images, _ = generate(
        run.objective, self.sampler, params,
        shape=run.pipeline.shape, indices=indices, seed=self.seed,
        size=len(indices),
        labels=default_labels(indices, source.num_classes),
      )  # fmt: skip
    grid = plots.grid(images, self.rows)
    folder = pathlib.Path(run.workdir, 'samples')
    folder.mkdir(exist_ok=True)
    plots.save_png(folder / f'{step:08d}.png', grid)
    for writer in run.writers:
      writer.image(step, 'samples', grid)


def write(
  model: trained.Trained,
  sampler: samplers.Sampler,
  out: pathlib.Path,
  *,
  num: int,
  first: int = 0,
  seed: int = 0,
  labels: Sequence[int] = (),
  mean: Array = 0.0,
  size: int = 64,
  picture: np.ndarray | None = None,
) -> None:
  """Samples to a folder: PNG files, a grid, and one .npz.

  Args:
    model: what to sample from.
    sampler: how to sample.
    out: the folder.
    num: how many images.
    first: the first one's index.
    seed: of the set.
    labels: classes in turn; all of them when empty.
    mean: of x at t_max, to broadcast over [B, H, W, C].
    size: images in a block.
    picture: uint8 [H, W, C], the measurement that the images have, if any.

  Raises:
    ConfigError: a class that the model does not know.
    NonFiniteError: an image has values that are not finite.
  """
  indices = np.arange(first, first + num)
  wanted = _labels_in_turn(labels, indices, model.num_classes)
  with tqdm.tqdm(total=num, desc='sample', unit='image', disable=None) as bar:
    images, evaluations = generate(
      model.objective, sampler, model.params, shape=model.shape,
      indices=indices, labels=wanted, mean=mean, seed=seed, size=size,
      advance=bar.update,
    )  # fmt: skip
  out.mkdir(parents=True, exist_ok=True)
  for index, image in zip(indices, images, strict=True):
    plots.save_png(out / f'{index:06d}.png', image)
  if picture is not None:
    plots.save_png(out / 'measurement.png', picture)
  plots.save_png(
    out / 'grid.png', plots.grid(images[:100], min(10, len(images)))
  )
  arrays = {'arr_0': images}
  if wanted is not None:
    arrays['arr_1'] = wanted.astype(np.int64)
  np.savez(out / 'samples.npz', **arrays)
  print(
    f'{num} images, {evaluations.mean():.1f} network evaluations each '
    f'(at most {evaluations.max()})'
  )


def _labels_in_turn(
  labels: Sequence[int], indices: np.ndarray, num_classes: int
) -> np.ndarray | None:
  """Returns the classes that were asked for, in turn, or all of them."""
  for label in labels:
    if not 0 <= label < num_classes:
      raise errors.ConfigError(
        f'there is no class {label}: the model has {num_classes}'
      )
  if not labels:
    return default_labels(indices, num_classes)
  return np.asarray(labels)[indices % len(labels)]
