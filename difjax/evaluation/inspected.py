r"""What a data set is like, and the settings of a process that follow from it.

Pixels are b / 127.5 - 1 in [-1, 1]. Channels are summed up as counts of the 256
levels, so their moments are exact; with the mean image m and over all pixels,

  (1)  std^2 = mean (x - mean x)^2,      std_centred^2 = mean (x - m)^2,

of which EDM calls the first sigma_data. The largest distance of two images is
the sigma_max of technique 1 of Song and Ermon 2020 (arXiv 2006.09011). Their
technique 2 spaces the levels from there to sigma_min geometrically: images of D
numbers are at sigma sqrt(D) +- sigma / sqrt(2) from where they would be without
noise, and a level covers half of the next above if their ratio g has

  (2)  Phi(sqrt(2 D) (g - 1) + 3 g) - Phi(sqrt(2 D) (g - 1) - 3 g) = 1/2

("about" in the paper, whose own ladders have 0.57, hence 6 % more levels). The
first term is 1 to within 1e-9, and so

  (3)  g = sqrt(2 D) / (sqrt(2 D) - 3).

Distances are of pairs, so they are taken of so many images as fit, each once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tqdm

from difjax import errors
from difjax.data import source as sources
from difjax.metrics import distances
from difjax.typing import Array, Shape

_LEVELS = np.arange(256) / 127.5 - 1
_ENTRIES = 2**26  # numbers of all images that distances are taken of
_PAIRED = 4_000  # images that they are taken of, at most
_LEAST = 5  # numbers in an image for which (3) is a ratio
_SIGMA_MIN = 0.01  # Song and Ermon 2019, in [0, 1]


class Distances(NamedTuple):
  """Of distinct images, pixels in [-1, 1].

  Attributes:
    count: of how many images.
    largest: between two of them.
    nearest: [count], of each to the nearest other one.
  """

  count: int
  largest: float
  nearest: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """What was found in the images that were read.

  Attributes:
    total: images of the source.
    indices: [N] of the images that were read, in order.
    shapes: how many images of each shape (H, W, C).
    labels: how many images of each class; empty without labels.
    class_names: in label order; may be empty.
    levels: [C, 256], how often each channel has each level.
    std_centred: equation (1); None where images differ in size.
    duplicates: images that are equal to an earlier one.
    distances: None where images differ in size or are all equal.
  """

  total: int
  indices: np.ndarray
  shapes: Mapping[Shape, int]
  labels: Mapping[int, int]
  class_names: tuple[str, ...]
  levels: np.ndarray
  std_centred: float | None
  duplicates: int
  distances: Distances | None

  @property
  def count(self) -> int:
    """How many images were read."""
    return len(self.indices)

  @property
  def exact(self) -> bool:
    """Whether distances are of all distinct images of the source."""
    apart = self.distances
    distinct = self.total - self.duplicates
    return apart is not None and apart.count == distinct

  @property
  def mean(self) -> np.ndarray:
    """[C] of the channels."""
    return self.levels @ _LEVELS / self.levels.sum(axis=1)

  @property
  def channel_std(self) -> np.ndarray:
    """[C] of the channels, each about its own mean."""
    return np.array([_std(counts) for counts in self.levels])

  @property
  def std(self) -> float:
    """Of all pixels, equation (1)."""
    return _std(self.levels.sum(axis=0))

  @property
  def dimension(self) -> int:
    """Numbers in an image, of the most frequent shape."""
    return math.prod(max(self.shapes, key=self.shapes.get))


class Setting(NamedTuple):
  """A proposal, and where it comes from.

  Attributes:
    argument: of a part of a config.
    value: of the argument.
    rule: by which it follows, and its source.
  """

  argument: str
  value: float | int
  rule: str


def measure(
  source: sources.Source,
  images: int = 10_000,
  seed: int = 0,
  paired: int = _PAIRED,
) -> Measured:
  """Reads images of a source and measures them.

  Args:
    source: of images uint8.
    images: how many are read; more than there are means all. Of fewer, those
      that the seed draws.
    seed: of the draws.
    paired: how many of them distances are taken of, at most.

  Raises:
    DataError: there is no image, or they differ in their number of channels.
  """
  rng, total = np.random.default_rng(seed), len(source)
  if total < 1 or images < 1:
    raise errors.DataError(f'{min(total, images)} images to measure: give some')
  chosen = np.sort(rng.permutation(total)[:images])
  sums = _Sums()
  for i in tqdm.tqdm(chosen, desc='images', unit='image', disable=None):
    sums.add(source[int(i)])
  distinct = np.array([*sums.distinct.values()])
  shapes = dict(sorted(sums.shapes.items(), key=lambda item: -item[1]))
  apart = None
  if len(shapes) == 1 and len(distinct) > 1:
    fit = max(2, min(paired, _ENTRIES // math.prod(next(iter(shapes)))))
    picked = chosen[np.sort(rng.permutation(distinct)[:fit])]
    apart = _distances(source.take(picked)['image'])
  return Measured(
    total=total, indices=chosen, shapes=shapes,
    labels=dict(sorted(sums.labels.items())), class_names=source.class_names,
    levels=sums.levels, std_centred=sums.std_centred(),
    duplicates=len(chosen) - len(distinct), distances=apart,
  )  # fmt: skip


def proposed(measured: Measured) -> list[Setting]:
  """Returns settings of EDM and of the VE process, pixels in [-1, 1]."""
  found = [
    Setting('data_std', measured.std, 'standard deviation of all pixels '
            '(Karras et al. 2022, table 1; 0.5 there)'),
    Setting('P_mean', -1.2, 'not measured: the default of Karras et al. 2022, '
            'table 1'),
    Setting('P_std', 1.2, 'not measured: likewise'),
  ]  # fmt: skip
  if measured.distances is None:
    return found
  high, low = measured.distances.largest, 2 * _SIGMA_MIN
  found += [
    Setting('sigma_max', high, 'largest distance of two images (Song and Ermon '
            f'2020, technique 1), {high / 2:.4g} in [0, 1]'),
    Setting('sigma_min', low, 'not measured: 0.01 in [0, 1] (Song and Ermon '
            '2019)'),
  ]  # fmt: skip
  if high > low and measured.dimension >= _LEAST:
    levels = ladder(measured.dimension, high, low)
    found.append(Setting('levels', levels, 'of a ladder between the two (Song '
                         'and Ermon 2020, technique 2)'))
  return found


def ladder(dimension: int, sigma_max: float, sigma_min: float) -> int:
  """Returns how many geometric levels equation (3) puts between two sigmas.

  Args:
    dimension: D, numbers in an image; at least 5.
    sigma_max: the highest level.
    sigma_min: the lowest, below it.
  """
  root = math.sqrt(2 * dimension)
  ratio = root / (root - 3)
  return 1 + round(math.log(sigma_max / sigma_min) / math.log(ratio))


class _Sums:
  """Sums over images, exact in whole numbers."""

  def __init__(self) -> None:
    self.shapes: dict[Shape, int] = {}
    self.labels: dict[int, int] = {}
    self.distinct: dict[bytes, int] = {}  # which image first had these pixels
    self.levels = np.zeros((0, 256), np.int64)
    self.first, self.second = 0, 0  # [H, W, C]: of pixels, of their squares
    self.count = 0

  def add(self, example: dict[str, Array]) -> None:
    """Adds the next image."""
    image = np.asarray(example['image'])
    if image.dtype != np.uint8 or image.ndim != 3:
      raise errors.DataError(
        f'image {self.count} is {image.dtype} {image.shape}, not uint8 '
        '[H, W, C]'
      )
    channels = image.reshape(-1, image.shape[-1]).T
    if not self.count:
      self.levels = np.zeros((len(channels), 256), np.int64)
    if len(channels) != len(self.levels):
      raise errors.DataError(
        f'images of {len(self.levels)} and of {len(channels)} channels: make '
        'them alike'
      )
    self.levels += [np.bincount(each, minlength=256) for each in channels]
    self.shapes[image.shape] = self.shapes.get(image.shape, 0) + 1
    if len(self.shapes) == 1:
      x = image.astype(np.int64)
      self.first, self.second = self.first + x, self.second + x * x
    if 'label' in example:
      label = int(example['label'])
      self.labels[label] = self.labels.get(label, 0) + 1
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes())
    self.distinct.setdefault(digest.digest(), self.count)
    self.count += 1

  def std_centred(self) -> float | None:
    """Equation (1), of images of one size."""
    if len(self.shapes) > 1:
      return None
    mean = self.first / self.count
    return float(np.sqrt(np.mean(self.second / self.count - mean**2))) / 127.5


def _std(counts: np.ndarray) -> float:
  """Standard deviation of pixels that have each level so often [256]."""
  share = counts / counts.sum()
  return float(np.sqrt(share @ (_LEVELS - share @ _LEVELS) ** 2))


def _distances(images: np.ndarray) -> Distances:
  """Distances of distinct images uint8 [N, H, W, C]."""
  flat = images.reshape(len(images), -1).astype(np.float64)  # exact in bytes
  largest, nearest = 0.0, []
  for block in distances.blocks(flat, flat):
    largest = max(largest, block.farthest())
    nearest.append(block.nearest(2)[0][:, 1])  # the first is the image itself
  return Distances(
    count=len(images),
    largest=math.sqrt(largest) / 127.5,
    nearest=np.sqrt(np.concatenate(nearest)) / 127.5,
  )
