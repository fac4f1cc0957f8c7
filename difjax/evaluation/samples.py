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
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from difjax import compilation, errors
from difjax.data import device
from difjax.evaluation import plots, quantisers, sample_set, trained
from difjax.objectives import base
from difjax.sampling import langevin, samplers
from difjax.sampling import noise as noises
from difjax.training import distributed, hooks, state
from difjax.training import mesh as meshes
from difjax.typing import Array, Cond, Params, Shape

_PRIOR, _SOLVER = 0, 1  # streams of an image's key


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
  """Samples the images of some indices; `compiled` is what to call.

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


@functools.cache
def compiled() -> Callable[..., tuple[Array, Array]]:
  """Returns `block`, compiled for the devices that there are."""
  return jax.jit(
    block, static_argnames=('objective', 'sampler', 'shape'),
    compiler_options=compilation.options(),
  )  # fmt: skip


def default_labels(indices: Array, num_classes: int) -> Array | None:
  """Returns label i mod K for index i: balanced, whatever the count."""
  return np.asarray(indices) % num_classes if num_classes else None


def condition(labels: Array | None) -> Cond:
  """Returns what a denoiser is told of images with these classes, if any."""
  return None if labels is None else {'label': jnp.asarray(labels)}


def spread(
  objective: base.Generative,
  sampler: samplers.Sampler,
  params: Params,
  parts: Iterable[tuple[Array, Array | None]],
  *,
  shape: Shape,
  mean: Array = 0.0,
  seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Samples parts of one size, in turn on each of the local devices.

  While one part is read, every device works on a next one.

  Args:
    objective: what was trained.
    sampler: how to sample.
    params: of the objective's network.
    parts: indices int [B], and labels int [B] or None.
    shape: (H, W, C) of an image.
    mean: of x at t_max, to broadcast over [B, H, W, C].
    seed: of the set.

  Yields:
    x [B, ...] as it was drawn, and evaluations int [B]; of each part in turn.
  """
  places = [(d, jax.device_put(params, d)) for d in jax.local_devices()]
  pending = collections.deque()
  read = lambda: tuple(map(np.asarray, pending.popleft()))
  for i, (indices, labels) in enumerate(parts):
    on, copy = places[i % len(places)]
    put = functools.partial(jax.device_put, device=on)
    found = compiled()(
      copy, put(jnp.uint32(seed)), put(np.asarray(indices)),
      None if labels is None else put(np.asarray(labels)),
      put(jnp.asarray(mean, jnp.float32)),
      objective=objective, sampler=sampler, shape=tuple(shape),
    )  # fmt: skip
    pending.append(found)
    if len(pending) > len(places):
      yield read()
  while pending:
    yield read()


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

  Takes the arguments of `generate`.

  Yields:
    x [B, ...] as it was drawn, and evaluations int [B]; in the order of the
    indices, the last of them shorter.
  """
  starts = range(0, len(indices), size)
  cut = [np.arange(i, min(i + size, len(indices))) for i in starts]
  of = lambda values, part: np.asarray(values)[np.resize(part, size)]
  parts = (  # the last block repeats its images
    (of(indices, part), None if labels is None else of(labels, part))
    for part in cut
  )
  found = spread(
    objective, sampler, params, parts, shape=shape, mean=mean, seed=seed
  )
  for part, (x, evaluations) in zip(cut, found, strict=True):
    yield x[: len(part)], evaluations[: len(part)]


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


def fill(
  found: sample_set.SampleSet,
  objective: base.Generative,
  sampler: samplers.Sampler,
  params: Params,
  *,
  labels: Callable[[Array], Array | None],
  mean: Array = 0.0,
  seed: int = 0,
  quantise: quantisers.Quantiser = device.to_bytes,
  part: int = 0,
  parts: int = 1,
) -> None:
  """Draws the blocks of a set that are missing, each to its file.

  Args:
    found: the set, which was begun.
    objective: what was trained.
    sampler: how to sample.
    params: of the objective's network.
    labels: gives the labels int [B] of indices, or None.
    mean: of x at t_max, to broadcast over [B, H, W, C].
    seed: of the set.
    quantise: rounds to bytes.
    part: which process this is: block b is of process b mod `parts`.
    parts: how many processes there are.

  Raises:
    NonFiniteError: an image has values that are not finite.
  """
  found.discard_torn(part, parts)
  left = found.missing(part, parts)
  counts = {b: int(found.inside(b).sum()) for b in found.blocks}
  mine = sum(counts[b] for b in counts if b % parts == part)
  drawn = spread(
    objective, sampler, params,
    ((found.whole(b), labels(found.whole(b))) for b in left),
    shape=found.shape, mean=mean, seed=seed,
  )  # fmt: skip
  with tqdm.tqdm(
    desc='sample' if parts == 1 else f'sample {part + 1}/{parts}',
    total=mine, initial=mine - sum(map(counts.get, left)), unit='image',
    mininterval=0.1 if sys.stderr.isatty() else 30, disable=not left,
  ) as bar:  # fmt: skip
    for number, (x, evaluations) in zip(left, drawn, strict=True):
      inside = found.inside(number)
      indices = found.whole(number)[inside]
      told = labels(indices)
      found.write(number, sample_set.Block(
        indices,
        _checked(x[inside], indices, seed, quantise),
        None if told is None else np.asarray(told, np.int64),
        evaluations[inside].astype(np.int32),
      ))  # fmt: skip
      bar.update(len(indices))


def in_turn(
  labels: Sequence[int], num_classes: int
) -> Callable[[Array], Array | None]:
  """Returns what gives the labels of indices, in turn.

  Args:
    labels: classes; all of them when empty, so that a set is balanced.
    num_classes: of the model; 0 for one without labels.

  Raises:
    ConfigError: a class that the model does not know.
  """
  table = np.asarray(labels, np.int64)
  unknown = table[(table < 0) | (table >= num_classes)]
  if len(unknown):
    raise errors.ConfigError(
      f'there is no class {unknown[0]}: the model has {num_classes}'
    )
  if not len(table):
    return lambda indices: default_labels(indices, num_classes)
  return lambda indices: table[np.asarray(indices) % len(table)]


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


def _checked(
  x: np.ndarray,
  indices: np.ndarray,
  seed: int,
  quantise: quantisers.Quantiser = device.to_bytes,
) -> np.ndarray:
  """Returns bytes, of finite images only."""
  bad = ~np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
  if bad.any():
    raise errors.NonFiniteError(
      f'image {indices[bad][0]} of seed {seed} is not finite: use more steps '
      'or another solver'
    )
  return quantise(x)


def on_first(
  run: hooks.Run, now: state.TrainState, ema: str, use: Callable[[Params], None]
) -> None:
  """Has the first process sample from what is trained; the others wait.

  Args:
    run: whose hook asks.
    now: the state.
    ema: which average; '' for the raw parameters.
    use: what to do with it, on one device.

  Raises:
    ConfigError: nothing can be sampled from what is trained.
  """
  trained.require(run.objective, 'denoiser', 'config.objective')
  params = distributed.whole(now.ema[ema] if ema else now.params)
  if distributed.is_first():
    with jax.set_mesh(meshes.nowhere()):
      use(params)
  # The others wait here, where they may, and not in the step that follows.
  distributed.barrier('the first process has sampled')


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
    on_first(run, now, self.ema, lambda params: self._draw(run, step, params))

  def _draw(self, run: hooks.Run, step: int, params: Params) -> None:
    indices = np.arange(self.rows**2)
    images, _ = generate(
      run.objective, self.sampler, params,
      shape=run.pipeline.shape, indices=indices, seed=self.seed,
      size=len(indices),
      labels=default_labels(indices, run.pipeline.source.num_classes),
    )  # fmt: skip
    grid = plots.grid(images, self.rows)
    folder = pathlib.Path(run.workdir, 'samples')
    folder.mkdir(exist_ok=True)
    plots.save_png(folder / f'{step:08d}.png', grid)
    for writer in run.writers:
      writer.image(step, 'samples', grid)
