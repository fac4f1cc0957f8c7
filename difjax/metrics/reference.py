"""Feature statistics in files, in every layout that the public codes write.

| written by               | arrays of the .npz                           |
|--------------------------|----------------------------------------------|
| TTUR, pytorch-fid, EDM   | mu [d], sigma [d, d]                         |
| ADM's reference batches  | mu, sigma, mu_s, sigma_s, perhaps arr_0      |
| MeanFlow                 | ref_mu, ref_sigma                            |
| score_sde                | pool_3 [N, d], of samples with logits [N, K] |

mu_s and sigma_s are of the spatial features (sFID's); arr_0 are images. Ours
are pytorch-fid's with `count` beside, which other readers pass over. Nothing in
a file is executed.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from difjax import errors
from difjax.metrics import statistics
from difjax.typing import Array

_LAYOUTS = (('mu', 'sigma'), ('ref_mu', 'ref_sigma'))
_SPATIAL = ('mu_s', 'sigma_s')
_FEATURES, _LOGITS, _IMAGES, _COUNT = 'pool_3', 'logits', 'arr_0', 'count'
_ABOUT = 'about'
_ASYMMETRY = 1e-4  # of the largest entry: float32 sums reach about 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
  """Statistics that samples are compared with.

  Attributes:
    pooled: of the features [d] that FID compares.
    spatial: of those that sFID compares; None where the file has none.
    count: images that they were made from; None where the file does not say.
    features: the features [N, d] themselves; None where only statistics are.
    logits: [N, K]; None where the file has none.
    about: what who wrote the file says of it; '' where that is nothing.
  """

  pooled: statistics.Gaussian
  spatial: statistics.Gaussian | None = None
  count: int | None = None
  features: np.ndarray | None = None
  logits: np.ndarray | None = None
  about: str = ''


def read_reference(path: str | os.PathLike) -> Reference:
  """Reads feature statistics in any layout of the table above.

  Images in the file (arr_0, gigabytes) are not read.

  Raises:
    DataError: no such file, no or a damaged .npz, pickled objects, keys of no
      known layout, shapes that do not fit, NaN, infinity, or a covariance that
      is none.
  """
  arrays = _load(pathlib.Path(path))
  try:
    return parse(arrays)
  except errors.DataError as e:
    raise errors.DataError(f'{path}: {e}') from e


def write_statistics(
  path: str | os.PathLike,
  pooled: statistics.Moments,
  spatial: statistics.Moments | None = None,
  about: str = '',
) -> None:
  """Writes what pytorch-fid, EDM and ADM read, and the count beside.

  Args:
    path: a file whose name ends in .npz; replaced in one step.
    pooled: of the features that FID compares.
    spatial: of those that sFID compares, if any.
    about: what is to be known of them; other readers pass over it.

  Raises:
    DataError: fewer than two features, or the file cannot be written.
  """
  arrays = dict(zip(_LAYOUTS[0], pooled.gaussian, strict=True))
  if spatial is not None:
    arrays |= zip(_SPATIAL, spatial.gaussian, strict=True)
  if about:
    arrays[_ABOUT] = np.array(about)
  _save(pathlib.Path(path), {**arrays, _COUNT: np.int64(pooled.count)})


def write_meanflow(
  path: str | os.PathLike, pooled: statistics.Moments
) -> None:
  """Writes `ref_mu` and `ref_sigma`; as `write_statistics` otherwise."""
  arrays = dict(zip(_LAYOUTS[1], pooled.gaussian, strict=True))
  _save(pathlib.Path(path), {**arrays, _COUNT: np.int64(pooled.count)})


def write_features(
  path: str | os.PathLike,
  features: Array,
  logits: Array | None = None,
  about: str = '',
) -> None:
  """Writes what score_sde reads as a reference: `pool_3`, perhaps `logits`.

  Args:
    path: a file whose name ends in .npz; replaced in one step.
    features: [N, d].
    logits: [N, K].
    about: what is to be known of them; other readers pass over it.

  Raises:
    DataError: malformed features, or the file cannot be written.
  """
  arrays = {_FEATURES: features}
  if logits is not None:
    arrays[_LOGITS] = logits
  for array in arrays.values():
    statistics.as_features(array)
  if about:
    arrays[_ABOUT] = np.array(about)
  _save(pathlib.Path(path), arrays)


def _save(path: pathlib.Path, arrays: Mapping[str, Array]) -> None:
  """Writes beside `path` and renames, so that no reader sees a part."""
  if not path.name.endswith('.npz'):
    raise errors.DataError(f'cannot write {path}: end its name in .npz')
  partial = path.with_name(f'.{path.stem}.{os.getpid()}.npz')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      np.savez(partial, **arrays)
      os.replace(partial, path)
    finally:
      partial.unlink(missing_ok=True)
  except OSError as e:
    raise errors.DataError(f'cannot write {path}: {e}') from e


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays that a layout knows, and the names of the others."""
  known = {*sum(_LAYOUTS, ()), *_SPATIAL, _FEATURES, _LOGITS, _COUNT, _ABOUT}
  try:
    # np.load would take a .npy file too; zipfile names what is wrong.
    zipfile.ZipFile(path).close()
    with np.load(path, allow_pickle=False) as file:
      return {
        name: file[name] if name in known else np.empty(0)
        for name in file.files
      }
  except (
    OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, MemoryError,
    RuntimeError,
  ) as e:  # fmt: skip
    line = ' '.join(str(e).split())
    raise errors.DataError(f'cannot read {path} as .npz: {line}') from e


def parse(arrays: Mapping[str, np.ndarray]) -> Reference:
  """Returns the statistics that arrays by name hold, in a layout of the table.

  Raises:
    DataError: as in `read_reference`; the line does not name a file.
  """
  count = arrays.get(_COUNT)
  if count is not None:
    if count.shape or count.dtype.kind not in 'iu' or count < 1:
      raise errors.DataError('count is no positive integer: make it anew')
    count = int(count)
  for names in _LAYOUTS:
    if names[0] in arrays or names[1] in arrays:
      spatial = None
      if _SPATIAL[0] in arrays or _SPATIAL[1] in arrays:
        spatial = _gaussian(arrays, _SPATIAL)
      pooled = _gaussian(arrays, names)
      about = str(arrays.get(_ABOUT, ''))
      return Reference(
        pooled=pooled, spatial=spatial, count=count, about=about
      )
  if _FEATURES in arrays:
    features = statistics.as_features(arrays[_FEATURES], at_least=2)
    logits = arrays.get(_LOGITS)
    return Reference(
      pooled=statistics.Moments.of(features).gaussian,
      count=len(features),
      features=arrays[_FEATURES],
      logits=None if logits is None else _logits(logits, len(features)),
    )
  names = ', '.join(sorted(arrays)) or 'nothing'
  wanted = 'mu and sigma, ref_mu and ref_sigma, or pool_3'
  if _IMAGES in arrays:
    raise errors.DataError(
      f'holds images and no statistics ({names}), where {wanted} are wanted: '
      'compute features of the images'
    )
  raise errors.DataError(f'holds {names}, where {wanted} are wanted')


def _logits(logits: np.ndarray, count: int) -> np.ndarray:
  if len(statistics.as_features(logits)) != count:
    raise errors.DataError(
      f'{len(logits)} logits beside {count} features: make both anew'
    )
  return logits


def _gaussian(
  arrays: Mapping[str, np.ndarray], names: tuple[str, str]
) -> statistics.Gaussian:
  """The mean and covariance of these names, in float64."""
  missing = [name for name in names if name not in arrays]
  if missing:
    raise errors.DataError(
      f'holds {", ".join(sorted(arrays))} but no {missing[0]}: make it anew'
    )
  mean, covariance = (arrays[name] for name in names)
  if {mean.dtype.kind, covariance.dtype.kind} - set('fiu'):
    raise errors.DataError(f'{names[0]} or {names[1]} holds no real numbers')
  mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
  if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not mean.size:
    raise errors.DataError(
      f'{names[0]} {mean.shape} and {names[1]} {covariance.shape} are no mean '
      '[d] and covariance [d, d]'
    )
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    raise errors.DataError(
      f'{names[0]} or {names[1]} holds NaN or infinity: make it anew'
    )
  allowed = _ASYMMETRY * np.abs(covariance).max()
  if np.abs(covariance - covariance.T).max() > allowed or (
    np.diagonal(covariance) < -allowed
  ).any():
    raise errors.DataError(
      f'{names[1]} is no covariance, which is symmetric with a diagonal >= 0: '
      'make it anew'
    )
  return statistics.Gaussian(mean, covariance)
