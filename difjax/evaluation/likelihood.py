r"""Bits per dimension of images.

Bytes b become reals by a dequantiser. The uniform one is

  x = low + (high - low) (b + u) / 256,    u ~ U[0, 1),                   (1)

so that the 256 levels fill [low, high]. With q(u | b) the density of the noise
and D the numbers of an image, Jensen's inequality bounds the probability of the
bytes by the density of reals (Theis et al. 2016, section 3.1; Ho et al. 2019,
Flow++, equation 12),

  bits = E[log q(u | b) - log p(x)] / (D log 2) + log2(256 / (high - low)), (2)

whose last term is the Jacobian of (1): 7 for [-1, 1], 8 for [0, 1], and for the
uniform dequantiser log q = 0. A model of [-1, 1] is judged on [-1, 1]: (1) is
`device.dequantise`, by which a run with `dequantise=True` is trained. One
without it is trained on the levels' own places, b / 127.5 - 1; the middle of a
level in (1), (b - 127.5) / 128, is that to half a grey level.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from difjax import errors
from difjax.data import device
from difjax.data import source as sources
from difjax.evaluation import parts, trained
from difjax.objectives import base, bound, denoising
from difjax.sampling import likelihood
from difjax.sampling import noise as noises
from difjax.typing import Array, Batch, Key, Params

_DEQUANTISE, _PROBE = 0, 1  # streams of an image's key


class Dequantiser(Protocol):
  """Noise that makes reals of bytes; a flow may learn it."""

  @property
  def offset(self) -> float:
    """The last term of (2), in bits per number."""

  def __call__(self, image: Array, keys: Key) -> tuple[Array, Array]:
    """Maps bytes [B, ...] and keys [B] to x [B, ...] and log q(u | b) [B]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniformDequantiser:
  """Uniform noise (1).

  Attributes:
    low: where the levels begin.
    high: where they end.
    levels: how many there are.
  """

  low: float = -1.0
  high: float = 1.0
  levels: int = 256

  @property
  def offset(self) -> float:
    """The last term of (2), in bits per number."""
    return math.log2(self.levels / (self.high - self.low))

  def __call__(self, image: Array, keys: Key) -> tuple[Array, Array]:
    """Maps bytes [B, ...] and keys [B] to x [B, ...] and zeros [B]."""
    draw = lambda key: jax.random.uniform(key, image.shape[1:])
    filled = (image.astype(jnp.float32) + jax.vmap(draw)(keys)) / self.levels
    x = self.low + (self.high - self.low) * filled
    return x, jnp.zeros(image.shape[:1], x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likelihood:
  """Bits per dimension (2) along the probability-flow ODE.

  Attributes:
    source: the images.
    images: how many of them, from the first; None for all.
    repeats: draws of dequantisation and probe for each image.
    trace: how the divergence is found.
    dequantiser: how bytes become reals.
    rtol: relative tolerance of the ODE's steps.
    atol: absolute tolerance of the ODE's steps.
    size: images in a block.
    seed: of the draws, which depend on (seed, index, repeat) alone.
  """

  source: sources.Source
  images: int | None = None
  repeats: int = 1
  trace: likelihood.Trace = likelihood.Rademacher()
  dequantiser: Dequantiser = UniformDequantiser()
  rtol: float = 1e-5
  atol: float = 1e-5
  size: int = 100
  seed: int = 0

  def __call__(self, model: trained.Trained) -> parts.Found:
    """Evaluates the model.

    Raises:
      ConfigError: the images are not of the model's shape.
      NonFiniteError: the ODE did not end for an image.
    """
    run = functools.partial(
      likelihood_block, model.params, objective=model.objective,
      trace=self.trace, dequantiser=self.dequantiser, rtol=self.rtol,
      atol=self.atol,
    )  # fmt: skip
    return evaluate(self, model, run, {'rtol': self.rtol, 'atol': self.atol})


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariationalBound:
  """Bits per dimension by the discrete bound (`objectives.bound`).

  Attributes:
    source: the images.
    images: how many of them, from the first; None for all.
    repeats: draws of the noise for each image.
    variance: of the reverse steps.
    clip: whether estimates of x_0 are kept in [-1, 1], as samplers do.
    size: images in a block.
    seed: of the draws, which depend on (seed, index, repeat) alone.
  """

  source: sources.Source
  images: int | None = None
  repeats: int = 1
  variance: bound.Variance = bound.Small()
  clip: bool = True
  size: int = 100
  seed: int = 0

  def __call__(self, model: trained.Trained) -> parts.Found:
    """Evaluates the model.

    Raises:
      ConfigError: the process has no levels, or the images another shape.
      NonFiniteError: a term is not finite.
    """
    process = model.objective.process
    if not hasattr(process, 'levels'):
      raise errors.ConfigError(
        f'the bound is that of levels, and a {type(process).__name__} has '
        'none: use evaluation.Likelihood'
      )
    run = functools.partial(
      bound_block, model.params, objective=model.objective,
      variance=self.variance, clip=self.clip,
    )  # fmt: skip
    return evaluate(self, model, run, {})


@functools.partial(
  jax.jit,
  static_argnames=('objective', 'trace', 'dequantiser', 'rtol', 'atol'),
)
def likelihood_block(
  params: Params,
  batch: Batch,
  keys: Key,
  *,
  objective: base.Generative,
  trace: likelihood.Trace,
  dequantiser: Dequantiser,
  rtol: float,
  atol: float,
) -> tuple[Array, Array]:
  """Returns the bits (2) [B] of a batch of bytes and the evaluations [B]."""
  x, log_q = dequantiser(batch['image'], noises.fold_in(keys, _DEQUANTISE))
  found = likelihood.log_likelihood(
    objective.denoiser(params, denoising.condition(batch)),
    objective.process, x, noises.fold_in(keys, _PROBE), trace=trace, rtol=rtol,
    atol=atol,
  )  # fmt: skip
  scale = math.prod(x.shape[1:]) * math.log(2)
  bits = (log_q - found.logp) / scale + dequantiser.offset
  return bits, found.evaluations


@functools.partial(
  jax.jit, static_argnames=('objective', 'variance', 'clip')
)
def bound_block(
  params: Params,
  batch: Batch,
  keys: Key,
  *,
  objective: base.Generative,
  variance: bound.Variance,
  clip: bool,
) -> tuple[Array, Array]:
  """Returns the bound [B] of a batch of bytes and the evaluations [B]."""
  process = objective.process
  terms = bound.terms(
    objective.denoiser(params, denoising.condition(batch)), process,
    device.to_unit_range(batch['image']), keys, variance=variance, clip=clip,
  )  # fmt: skip
  evaluations = jnp.full(keys.shape, process.levels)
  return jnp.sum(terms, axis=1), evaluations


def evaluate(
  job: Likelihood | VariationalBound,
  model: trained.Trained,
  run: Callable[[Batch, Key], tuple[Array, Array]],
  settings: dict[str, float],
) -> parts.Found:
  """Runs blocks of images, several times each, and sums up.

  Args:
    job: which images, how often, in blocks of what size.
    model: what is judged.
    run: (batch, keys [B]) -> bits per dimension [B] and evaluations [B].
    settings: what the figures should also say.
  """
  count = len(job.source) if job.images is None else job.images
  indices = np.arange(min(count, len(job.source)))
  bits = np.zeros((job.repeats, len(indices)))
  evaluations = np.zeros(bits.shape, np.int64)
  began = time.monotonic()
  total = bits.size
  with tqdm.tqdm(total=total, desc='bits', unit='image', disable=None) as bar:
    for start in range(0, len(indices), job.size):
      part = indices[start : start + job.size]
      full = np.resize(part, job.size)  # the last block repeats its images
      batch = _fitting(job.source.take(full), model)
      for repeat in range(job.repeats):
        keys = noises.image_keys(job.seed, full)
        keys = noises.fold_in(keys, repeat)
        found = [np.asarray(x)[: len(part)] for x in run(batch, keys)]
        bits[repeat, part], evaluations[repeat, part] = found
        bar.update(len(part))
  return _summary(bits, evaluations, settings, time.monotonic() - began)


def _fitting(batch: Batch, model: trained.Trained) -> Batch:
  if batch['image'].shape[1:] != tuple(model.shape):
    raise errors.ConfigError(
      f'evaluation.source has images of {batch["image"].shape[1:]}, the model '
      f'of {tuple(model.shape)}: use the data that it was trained on'
    )
  known = ('image', 'label') if model.num_classes else ('image',)
  return {key: batch[key] for key in known if key in batch}


def _summary(
  bits: np.ndarray,
  evaluations: np.ndarray,
  settings: dict[str, float],
  seconds: float,
) -> parts.Found:
  """Means, and how sure they are; arrays are [repeats, images]."""
  bad = ~np.isfinite(bits).all(axis=0)
  if bad.any():
    raise errors.NonFiniteError(
      f'the likelihood of image {np.flatnonzero(bad)[0]} is not finite: '
      'raise the tolerance, or look at the model'
    )
  repeats, images = bits.shape
  error = lambda x: float(np.std(x, ddof=1) / math.sqrt(len(x)))
  figures = {
    'bits_per_dim': float(bits.mean()),
    'images': images,
    'repeats': repeats,
    **settings,
    'evaluations_mean': float(evaluations.mean()),
    'evaluations_max': int(evaluations.max()),
    'seconds': seconds,
  }
  if images > 1:
    figures['error_over_images'] = error(bits.mean(axis=0))
  if repeats > 1:
    figures['error_over_repeats'] = error(bits.mean(axis=1))
  arrays = {'bits_per_dim': bits, 'evaluations': evaluations}
  return parts.Found(figures, arrays)
