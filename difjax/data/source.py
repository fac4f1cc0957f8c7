"""What a data set is: numbered examples, and a name for their content.

A source maps an index to an example, a dict with 'image' [H, W, C] uint8 and,
where it is known, 'label', an int32 scalar. It holds no iterator and no order,
so that any process may read any example at any time. The fields of a source
are literals that a config can spell; files are opened at first use.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any, Protocol

import numpy as np

from difjax import errors
from difjax.typing import Array, Shape


class Source(Protocol):
  """Numbered examples; subclass it and fill in the first three methods."""

  def __len__(self) -> int:
    """Number of examples."""
    raise NotImplementedError

  def __getitem__(self, i: int) -> dict[str, Array]:
    """Example `i`, 0 <= i < len(self); called from several threads at once."""
    raise NotImplementedError

  def fingerprint(self) -> str:
    """Short hex that changes when the data do; it reads few of the pixels."""
    raise NotImplementedError

  def __getstate__(self) -> dict[str, Any]:
    """What a pickle holds: the fields, and nothing that was read or opened."""
    read = lambda name: isinstance(
      getattr(type(self), name, None), functools.cached_property
    )
    return {key: value for key, value in vars(self).items() if not read(key)}

  @property
  def shape(self) -> Shape:
    """Shape (H, W, C) of every example's image."""
    return self[0]['image'].shape

  @property
  def num_classes(self) -> int:
    """Number of classes, 0 where the examples have no label."""
    return 0

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the classes in label order, empty where they are unknown."""
    return ()

  @property
  def chunks(self) -> tuple[int, ...]:
    """Sizes of the runs of examples that are stored together, in order."""
    return (len(self),)

  @property
  def stored_bytes(self) -> float:
    """Mean bytes that are read for an example; of its pixels if not known."""
    return float(np.prod(self.shape))

  @property
  def replaced(self) -> int:
    """Damaged examples so far for which another one stands in."""
    return 0

  def take(self, indices: Array) -> dict[str, Array]:
    """Examples at `indices` [B], stacked: image [B, H, W, C], label [B]."""
    return stack([self[int(i)] for i in indices])


class InMemory(Source):
  """A source whose pixels fit into memory: subclasses give `arrays`."""

  @functools.cached_property
  def arrays(self) -> dict[str, Array]:
    """Whole data set: image [N, H, W, C] uint8 and perhaps label [N] int32."""
    raise NotImplementedError

  def __len__(self) -> int:
    return len(self.arrays['image'])

  def __getitem__(self, i: int) -> dict[str, Array]:
    return {key: value[i] for key, value in self.arrays.items()}

  def take(self, indices: Array) -> dict[str, Array]:
    """Examples at `indices` [B], gathered without a loop."""
    return {key: value[indices] for key, value in self.arrays.items()}

  def fingerprint(self) -> str:
    """Digest of every byte: they are in memory already."""
    return self._digest

  @functools.cached_property
  def _digest(self) -> str:
    return digest(sorted(self.arrays.items()))

  @property
  def num_classes(self) -> int:
    """One more than the largest label."""
    labels = self.arrays.get('label')
    return 0 if labels is None else int(labels.max(initial=-1)) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wrapped(Source):
  """Another source under another name; subclasses change what they are for.

  Attributes:
    source: the other one.
  """

  source: Source

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, i: int) -> dict[str, Array]:
    return self.source[i]

  def fingerprint(self) -> str:
    """That of the source."""
    return self.source.fingerprint()

  @property
  def shape(self) -> Shape:
    """Shape of the source's images."""
    return self.source.shape

  @property
  def num_classes(self) -> int:
    """Number of classes of the source."""
    return self.source.num_classes

  @property
  def class_names(self) -> tuple[str, ...]:
    """Class names of the source."""
    return self.source.class_names

  @property
  def chunks(self) -> tuple[int, ...]:
    """Those of the source."""
    return self.source.chunks

  @property
  def stored_bytes(self) -> float:
    """That of the source."""
    return self.source.stored_bytes

  @property
  def replaced(self) -> int:
    """That of the source."""
    return self.source.replaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset(Wrapped):
  """Examples `start` to `stop` of another source.

  Attributes:
    start: first example.
    stop: one past the last example; None is the end.
  """

  start: int = 0
  stop: int | None = None

  @functools.cached_property
  def _range(self) -> range:
    return span(len(self.source), self.start, self.stop)

  def __len__(self) -> int:
    return len(self._range)

  def __getitem__(self, i: int) -> dict[str, Array]:
    return self.source[self._range[i]]

  def take(self, indices: Array) -> dict[str, Array]:
    """Examples at `indices` [B] of the subset, stacked."""
    return self.source.take(np.asarray(indices) + self._range.start)

  def fingerprint(self) -> str:
    """Digest of the whole's fingerprint and the two ends."""
    return digest(
      [self.source.fingerprint(), self._range.start, self._range.stop]
    )

  @property
  def chunks(self) -> tuple[int, ...]:
    """What the cut leaves of the whole's."""
    ends = np.cumsum([0, *self.source.chunks])
    cut = np.clip(ends, self._range.start, self._range.stop)
    return tuple(size for size in np.diff(cut).tolist() if size)


def stack(examples: list[dict[str, Array]]) -> dict[str, Array]:
  """Stacks equal-keyed examples along a new first axis.

  Raises:
    DataError: their images differ in shape.
  """
  shapes = {np.shape(example['image']) for example in examples}
  if len(shapes) > 1:
    sizes = ' and '.join(' x '.join(map(str, s)) for s in sorted(shapes)[:2])
    raise errors.DataError(
      f'images of {sizes} make no batch: give them one size, as '
      'data.ImageFolder does with `size` and data.Mapped with data.CentreCrop'
    )
  return {key: np.stack([x[key] for x in examples]) for key in examples[0]}


def span(length: int, start: int, stop: int | None) -> range:
  """The range start:stop inside 0:length.

  Raises:
    DataError: if it is empty or reaches outside.
  """
  stop = length if stop is None else stop
  if not 0 <= start < stop <= length:
    raise errors.DataError(
      f'start={start}, stop={stop} selects nothing valid of {length} examples:'
      f' use 0 <= start < stop <= {length}'
    )
  return range(start, stop)


def digest(parts: Any) -> str:
  """Sixteen hex digits of sha256 over nested tuples, lists and arrays."""
  state = hashlib.sha256()
  _update(state, parts)
  return state.hexdigest()[:16]


def _update(state: Any, part: Any) -> None:
  if isinstance(part, list | tuple):
    state.update(f'[{len(part)}]'.encode())
    for item in part:
      _update(state, item)
  elif isinstance(part, np.ndarray):
    state.update(f'{part.dtype.str}{part.shape}'.encode())
    state.update(np.ascontiguousarray(part).data)
  else:
    state.update(repr(part).encode() + b';')
