"""What samples are compared with: other images, or statistics in a file.

Statistics that `write` has saved say which network they are of, and are not
used with another. Of those of other tools nobody knows.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from difjax import config as configs
from difjax import errors, metrics
from difjax.data import source as sources
from difjax.evaluation import feature_nets, figures, gathered, image_set

_STATISTICS = frozenset({'mu.npy', 'ref_mu.npy', 'pool_3.npy'})
_IMAGES = 'arr_0.npy'
UNKNOWN = 'unknown'  # the network of other tools' statistics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
  """A reference that is found.

  Attributes:
    tell: gives which it is; of images that reads them, unless `compute` has.
    compute: gives its statistics on a network.
    images: the set, where it is one.
  """

  tell: Callable[[], Mapping[str, Any]]
  compute: Callable[[feature_nets.Net], figures.Statistics]
  images: image_set.ImageSet | None = None

  @functools.cached_property
  def facts(self) -> Mapping[str, Any]:
    """Which it is, as JSON has it."""
    return self.tell()


def read(path: str | pathlib.Path) -> Reference:
  """Finds a reference: a set of images, or statistics in any public layout.

  A file with both, as ADM's are, is compared with by its statistics, and by its
  images where features are needed.

  Raises:
    DataError: it is missing or malformed.
  """
  place = pathlib.Path(path)
  inside = _inside(place)
  if not inside & _STATISTICS:
    return of_images(image_set.read(place))
  known = metrics.read_reference(place)
  batch = image_set.read(place) if _IMAGES in inside else None
  about = _about(known.about)
  unsaid = {} if 'network' in about else {'network': UNKNOWN}
  facts = {
    'path': str(place), 'kind': 'statistics', 'count': known.count,
    'sha256': _sha256(place), 'shape': list(batch.shape) if batch else None,
    **unsaid,
    **{key: about['images'].get(key) for key in ('sha256', 'shape')
       if 'images' in about},  # so that statistics stand for their images
  }  # fmt: skip

  def compute(net: feature_nets.Net) -> figures.Statistics:
    _check_network(place, about, net)
    features = known.features
    if batch is not None:
      features = gathered.gather(batch, net, 'reference', scores=False).pooled
    return figures.Statistics(known.pooled, known.spatial, features)

  return Reference(tell=lambda: facts, compute=compute)


def of_networks(
  path: str | pathlib.Path, known: Mapping[str, metrics.Reference]
) -> Reference:
  """Takes statistics on several networks for a reference.

  Args:
    path: of the file that has them.
    known: by what the distance on the network is called.
  """
  place, counts = pathlib.Path(path), {part.count for part in known.values()}

  def compute(net: feature_nets.Net) -> figures.Statistics:
    ours = net.names.distance
    for name, part in known.items():
      # With other weights than the published, a distance has their hash too.
      if re.fullmatch(rf'{re.escape(name)}(_[0-9a-f]{{8}})?', ours):
        return figures.Statistics(part.pooled, part.spatial, part.features)
    raise errors.DataError(
      f'{place} has statistics for {", ".join(sorted(known))}, and not for '
      f'{ours}: use a network of those'
    )

  return Reference(compute=compute, tell=lambda: {
    'path': str(place), 'kind': 'statistics', 'sha256': _sha256(place),
    'shape': None, 'count': next(iter(counts)) if len(counts) == 1 else None,
  })  # fmt: skip


def of_source(source: sources.Source) -> Reference:
  """Takes one of difjax's data sources for a reference."""
  return of_images(image_set.of_source(source))


def of_images(images: image_set.ImageSet) -> Reference:
  """Takes a set of images for a reference."""
  return Reference(
    tell=lambda: image_facts(images), images=images,
    compute=lambda net: figures.statistics_of(
      gathered.gather(images, net, 'reference', scores=False)
    ),
  )  # fmt: skip


def image_facts(images: image_set.ImageSet) -> dict[str, Any]:
  """Returns which set it is, as JSON has it; its pixels are read."""
  return {
    'path': images.path, 'kind': images.kind, 'count': len(images),
    'sha256': images.fingerprint, 'shape': list(images.shape),
  }  # fmt: skip


def write(
  path: str | pathlib.Path, images: image_set.ImageSet,
  net: feature_nets.Net,
) -> figures.Statistics:
  """Computes the statistics of a set and saves them, and returns them.

  Raises:
    DataError: an image cannot be read, or the file cannot be written.
  """
  found = gathered.gather(images, net, 'reference', scores=False)
  about = {'network': net.facts, 'images': image_facts(images)}
  metrics.write_statistics(
    path, found.moments, found.spatial, json.dumps(about, sort_keys=True)
  )
  return figures.statistics_of(found)


def _inside(place: pathlib.Path) -> frozenset[str]:
  """Lists the arrays of an .npz; nothing of another file."""
  if not place.is_file() or not zipfile.is_zipfile(place):
    return frozenset()
  try:
    with zipfile.ZipFile(place) as archive:
      return frozenset(archive.namelist())
  except (OSError, zipfile.BadZipFile):
    return frozenset()  # reading it says what is wrong


def _about(text: str) -> dict[str, dict[str, Any]]:
  """Reads what `write` has noted; nothing of what others have."""
  try:
    found = json.loads(text or 'null')
    json.dumps(found, allow_nan=False)  # as a card has it
  except (ValueError, RecursionError):
    return {}
  if not isinstance(found, dict):
    return {}
  parts = {'images', 'network'} & {*found}
  return {key: found[key] for key in parts if isinstance(found[key], dict)}


def _check_network(
  place: pathlib.Path, about: Mapping[str, Any], net: feature_nets.Net
) -> None:
  """Refuses statistics that say that they are of another network.

  Raises:
    DataError: they do.
  """
  if 'network' not in about:
    return
  ours = json.loads(json.dumps(net.facts))
  lines = configs.differences(about['network'], ours, 'network')
  if lines:
    raise errors.DataError(
      f'{place} was made with another network ({"; ".join(lines[:3])}): use '
      'that, or make the statistics anew'
    )


def _sha256(place: pathlib.Path) -> str:
  with place.open('rb') as stream:
    return hashlib.file_digest(stream, 'sha256').hexdigest()
