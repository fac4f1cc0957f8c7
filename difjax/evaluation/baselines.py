"""Labelled images, and what passes for samples without any diffusion model.

A Gaussian fit to each class has the right mean and covariance and nothing else;
the class means are what a collapsed model draws. A judge that lets either pass
is no judge.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from difjax import errors, metrics
from difjax.data import source as sources
from difjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Labelled:
  """Images uint8 [N, H, W, C], N >= 1, and the class that each shows [N].

  The class of a sample is the one that was asked for.

  Raises:
    DataError: another dtype or shape, or not one label an image.
  """

  images: np.ndarray
  labels: np.ndarray

  def __post_init__(self):
    images = self.images
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
      raise errors.DataError(
        f'images are {images.dtype} {images.shape}: judging takes uint8 '
        '[N, H, W, C], N >= 1'
      )
    if self.labels.shape != images.shape[:1]:
      raise errors.DataError(
        f'labels have the shape {self.labels.shape} for {len(images)} '
        'images: give one an image'
      )

  def draw(self, count: int, rng: np.random.Generator) -> Labelled:
    """`count` of the images, drawn without replacement."""
    chosen = rng.permutation(len(self.images))[:count]
    return Labelled(self.images[chosen], self.labels[chosen])


@functools.lru_cache(maxsize=4)  # parts of an evaluation share their data
def labelled(source: sources.Source) -> Labelled:
  """Reads a whole source of labelled images.

  Raises:
    DataError: images of several sizes, or without labels.
  """
  whole = source.take(np.arange(len(source)))
  if 'label' not in whole:
    raise errors.DataError(
      f'{type(source).__name__} has no labels, and this figure needs them: '
      'give labelled images'
    )
  return Labelled(whole['image'], whole['label'])


@functools.lru_cache(maxsize=4)
def images(source: sources.Source) -> np.ndarray:
  """Reads all images of a source, with labels or without: [N, H, W, C].

  Raises:
    DataError: images of several sizes.
  """
  return source.take(np.arange(len(source)))['image']


def class_gaussian(
  train: Labelled, labels: Array, rng: np.random.Generator
) -> Labelled:
  """Draws from a Gaussian fit to the training pixels of each class.

  Args:
    train: at least two images of every class that is asked for.
    labels: classes to draw [N].
    rng: source of the draws.

  Returns:
    N images, rounded and clipped to bytes.
  """
  images = np.empty((len(labels), *train.images.shape[1:]), np.uint8)
  for label in np.unique(labels):
    flat = train.images[train.labels == label].reshape(
      -1, math.prod(train.images.shape[1:])
    )
    fit = metrics.Moments.of(flat).gaussian
    wanted = labels == label
    drawn = rng.multivariate_normal(*fit, wanted.sum(), method='eigh')
    images[wanted] = np.clip(np.rint(drawn), 0, 255).reshape(
      -1, *images.shape[1:]
    )
  return Labelled(images, labels)


def class_means(train: Labelled, labels: Array) -> Labelled:
  """The training mean of each class [N], rounded to bytes."""
  classes, where = np.unique(labels, return_inverse=True)
  means = np.stack(
    [train.images[train.labels == label].mean(axis=0) for label in classes]
  )
  return Labelled(np.rint(means).astype(np.uint8)[where], labels)
