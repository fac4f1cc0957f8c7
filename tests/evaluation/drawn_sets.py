"""Sets of samples of known pixels, for tests."""

from __future__ import annotations

import numpy as np

from difjax.evaluation import sample_set


def pixels(index, shape):
  """The image of an index."""
  rng = np.random.default_rng([7, index])
  return rng.integers(0, 256, shape, np.uint8)


def make(folder, *, num=23, first=5, size=4, channels=3, classes=10, **changes):
  """A set that is begun, without any block."""
  found = sample_set.SampleSet(
    folder=folder, shape=(6, 6, channels), num=num, first=first, size=size,
    labelled=classes > 0, num_classes=classes, class_names=(),
    protocol={'seed': 3, 'num': num, 'block': size, 'labels': [3, 7]} | changes,
  )  # fmt: skip
  found.begin()
  return found


def block(samples, number):
  """The block of a number."""
  indices = samples.whole(number)[samples.inside(number)]
  return sample_set.Block(
    indices,
    np.stack([pixels(i, samples.shape) for i in indices]),
    np.int64(indices % samples.num_classes) if samples.labelled else None,
    np.int32(indices % 3 + 1),
  )


def fill(samples, part=0, parts=1, most=None):
  """Writes the missing blocks of a part; returns their numbers."""
  left = samples.missing(part, parts)[:most]
  for number in left:
    samples.write(number, block(samples, number))
  return left


def whole(folder, **fields):
  """A finished set."""
  samples = make(folder, **fields)
  fill(samples)
  samples.finish()
  return samples
